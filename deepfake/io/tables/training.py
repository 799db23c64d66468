"""Tables of training, evaluation and the leak check."""

import pyarrow as pa

from deepfake.io.tables.columns import column

_METRICS = (
    ("accuracy", "share called right at the threshold"),
    ("balanced_accuracy", "mean of recall and specificity"),
    ("precision", "share of fakes among what is called fake"),
    ("precision_real", "share of reals among what is called real"),
    ("recall", "share of fakes called fake"),
    ("specificity", "share of reals called real"),
    ("f1", "harmonic mean of precision and recall"),
    ("auc", "area under the ROC curve"),
    ("partial_auc", "the same up to FPR 0.1, standardised so that chance is 0.5"),
    ("ap", "average precision"),
    ("eer", "equal error rate"),
    ("log_loss", "cross-entropy in nats"),
    ("brier", "mean squared distance of score and label"),
    ("ece", "expected calibration error, 15 bins"),
)

GROUP_METRICS = pa.schema(
    [
        column("level", pa.string(), "video, track or frame", False),
        column(
            "grouped_by",
            pa.string(),
            "all, method, compression, dataset, face size, track length, framing, or one of catalog.groups",
            False,
        ),
        column("group", pa.string(), "the group; a method's fakes stand against all reals", False),
        column("n", pa.int64(), "videos, tracks or faces", False),
        column("n_real", pa.int64(), "of these, real", False),
        column("n_fake", pa.int64(), "of these, fake", False),
        column("threshold", pa.float64(), "score from which something is called fake", False),
        *(column(name, pa.float64(), f"{doc}; null where undefined") for name, doc in _METRICS),
        column("auc_low", pa.float64(), "lower end of the AUC's 95 % bootstrap interval"),
        column("auc_high", pa.float64(), "upper end"),
        column(
            "blind_auc", pa.float64(), "AUC of what is known without looking at a pixel; null: not measured"
        ),
        column("blind_auc_low", pa.float64(), "lower end of its interval, from the same resamples"),
        column("blind_auc_high", pa.float64(), "upper end"),
    ]
)

# One row for each epoch of a training run. Metrics are exact, over all crops that the epoch showed.
HISTORY = pa.schema(
    [
        column("epoch", pa.int32(), "counted from 1", False),
        column("phase", pa.string(), "head: the head learns alone; fine_tune: the backbone too", False),
        column("steps", pa.int32(), "updates of the weights", False),
        column("crops", pa.int64(), "training crops shown", False),
        column("learning_rate", pa.float64(), "of the epoch's last step", False),
        column("loss", pa.float64(), "mean binary cross-entropy of the training passes, with dropout", False),
        column("penalty", pa.float64(), "L2 penalty at the end of the epoch, not in loss", False),
        *(
            column(name, pa.float64(), f"{name} of the training passes; null where undefined")
            for name in ("accuracy", "precision", "recall", "auc")
        ),
        column(
            "val_loss", pa.float64(), "mean binary cross-entropy of the validation crops that choose", False
        ),
        *(
            column(f"val_{name}", pa.float64(), f"{name} of validation; null where undefined")
            for name in ("accuracy", "precision", "recall", "auc")
        ),
        column("val_balanced_loss", pa.float64(), "mean of the two classes' mean cross-entropies", False),
        column("val_video_auc", pa.float64(), "AUC of the videos' mean scores", False),
        column("best", pa.bool_(), "whether it was the best so far, by training.select", False),
        column("train_seconds", pa.float64(), "time of the training steps, input included", False),
        column("val_seconds", pa.float64(), "time of validation", False),
        column(
            "input_wait_seconds", pa.float64(), "part of train_seconds that rank 0 waited for crops", False
        ),
    ]
)

# What the saved network says of the crops that training was validated on.
VALIDATION_SCORES = pa.schema(
    [
        column("video_id", pa.string(), "the video", False),
        column("frame_index", pa.int32(), "frame of the crop", False),
        column("face_index", pa.int16(), "face within the frame", False),
        column("group_id", pa.string(), "connected component of identities"),
        column("label", pa.int8(), "0 real, 1 fake", False),
        column("method", pa.string(), "manipulation method, or real"),
        column("role", pa.string(), "what it chose: epoch, thresholds (and calibration), or both", False),
        column("turned", pa.bool_(), "whether this is the rotated copy of faults.rotate_fakes", False),
        column("score", pa.float64(), "in [0, 1], 1 for fake", False),
    ]
)

# What splits share, one row for each shared thing and pair of videos. Of a pair, a stands in split_a.
OVERLAPS = pa.schema(
    [
        column(
            "kind",
            pa.string(),
            "identity, group, video, upload, duplicate_file, duplicate_crop, near_duplicate, label_conflict",
            False,
        ),
        column(
            "scope", pa.string(), "input: of the videos at hand; official_split: of FF++'s own lists", False
        ),
        column("key", pa.string(), "what is shared: identity, upload or content hash; null where only alike"),
        column("split_a", pa.string(), "split of the first; null where it has none"),
        column("split_b", pa.string(), "split of the second"),
        column("video_a", pa.string(), "video_id in split_a, or the clip on the official list", False),
        column("video_b", pa.string(), "video_id in split_b, or the clip on the official list", False),
        column("label_a", pa.int8(), "label of video_a"),
        column("label_b", pa.int8(), "label of video_b"),
        column("frame_a", pa.int32(), "frame of video_a's crop that is in video_b too; the closest one"),
        column("frame_b", pa.int32(), "frame of video_b's crop"),
        column("hash_distance", pa.int16(), "bits of 64 in which the crops' perceptual hashes differ"),
        column("pixel_difference", pa.float64(), "1 - correlation of the crops' 16x16 grey thumbnails"),
        column("mirrored", pa.bool_(), "whether one is the mirror image of the other"),
        column("crop_pairs", pa.int64(), "pairs of crops of these two videos that are alike"),
    ]
)
