"""Tables of what a model says of videos, and of what changed between two models."""

import pyarrow as pa

from deepfake.io.tables.columns import (
    CREDENTIALS,
    FACE_KEY,
    FRAMING,
    NOTES,
    PROVENANCE,
    VIDEO_KEY,
    VIDEO_OUTCOME,
    column,
)

OWN_SCORES = column(
    "bundle_scores",
    pa.list_(pa.float64()),
    "what each of several bundles says by itself, not calibrated, in the order of --bundle; null: of one",
)

SCORED_BY = [
    column("bundle_sha256", pa.string(), "hash of the model bundle that gave the score", False),
    column("config_sha256", pa.string(), "hash of the configuration that gave the row", False),
]

FACE_SCORES = pa.schema(
    [
        *FACE_KEY,
        *FRAMING,
        column("landmarks", pa.list_(pa.float32()), "five points as x1, y1, ... in source pixels; or null"),
        column("score", pa.float64(), "score of fake in [0, 1]; not a probability", False),
        OWN_SCORES,
        *SCORED_BY,
        *PROVENANCE,
    ]
)

TRACK_SCORES = pa.schema(
    [
        VIDEO_KEY,
        column("track_id", pa.int32(), "number of the track, from 0: one person followed through the video"),
        column("score", pa.float64(), "aggregated over the track's faces", False),
        OWN_SCORES,
        column("faces", pa.int32(), "faces of the track", False),
        column("first_s", pa.float64(), "time of the first face", False),
        column("last_s", pa.float64(), "time of the last face", False),
        column("face_size_px", pa.float32(), "median longer side of its boxes in source pixels", False),
        column("sharpness", pa.float32(), "median sharpness of its crops (variance of the Laplacian)"),
        column("segments", pa.int32(), "number of its segments (table segments)", False),
        *SCORED_BY,
        *PROVENANCE,
    ]
)

# Where a track looks fake: one row for each stretch.
SEGMENTS = pa.schema(
    [
        VIDEO_KEY,
        column("track_id", pa.int32(), "number of the track, from 0: one person followed through the video"),
        column("segment_index", pa.int32(), "counted from 0 in each video, by start", False),
        column("start_s", pa.float64(), "where the track's smoothed score reaches the threshold", False),
        column("end_s", pa.float64(), "where it leaves it", False),
        column("faces", pa.int32(), "faces of the track that were looked at in it", False),
        column("mean_score", pa.float64(), "mean of their scores", False),
        column("highest_score", pa.float64(), "the highest of them", False),
        column("highest_frame_index", pa.int32(), "its frame", False),
        column("threshold", pa.float64(), "the threshold", False),
        column("bundle_sha256", pa.string(), "hash of the model bundle that gave the scores", False),
        column("config_sha256", pa.string(), "hash of the configuration that gave the row", False),
        *PROVENANCE,
    ]
)

# The face that speaks most against a video: one row for each scored video.
EVIDENCE = pa.schema(
    [
        *FACE_KEY,
        column("score", pa.float64(), "its score", False),
        column("image", pa.binary(), "the crop as a small JPEG, for people to look at", False),
    ]
)

VIDEO_SCORES = pa.schema(
    [
        *VIDEO_OUTCOME,
        column("duplicate_of", pa.string(), "video_id of the same bytes, where status is skipped_duplicate"),
        column("score", pa.float64(), "score of fake in [0, 1]; null unless status is ok"),
        column("verdict", pa.string(), "likely_real, uncertain, likely_fake; null without a score"),
        column(
            "probability",
            pa.float64(),
            "calibrated probability of a fake, where as many videos are fake as in the bundle's validation, "
            "however few bear it out; null where the bundle could not be calibrated",
        ),
        column(
            "log10_lr",
            pa.float64(),
            "log10 of the likelihood ratio: how much more probable such a score is for a fake than for a "
            "real video like those of validation, no further than they support",
        ),
        column("log10_lr_low", pa.float64(), "the lowest that validation supports"),
        column("log10_lr_high", pa.float64(), "the highest that validation supports"),
        column("no_ratio", pa.string(), "why there is a score and no likelihood ratio"),
        OWN_SCORES,
        column("threshold", pa.float64(), "score from which a video is called fake"),
        column("operating_point", pa.string(), "how that threshold was chosen"),
        column("uncertain_from", pa.float64(), "lower scores are likely_real"),
        column("uncertain_to", pa.float64(), "scores from here are likely_fake"),
        column("frames_sampled", pa.int32(), "frames looked at", False),
        column("frames_with_face", pa.int32(), "frames in which a face was kept", False),
        column("faces", pa.int32(), "faces scored", False),
        column("tracks", pa.int32(), "tracks scored", False),
        column("worst_track_id", pa.int32(), "track with the highest score"),
        column("worst_frame_index", pa.int32(), "frame of the highest face score"),
        column("worst_time_s", pa.float64(), "its presentation time in seconds"),
        column("worst_face_score", pa.float64(), "the highest face score"),
        column("segments", pa.int32(), "number of segments; null if the bundle gives no verdicts"),
        column("segments_s", pa.float64(), "seconds that they cover together"),
        column("longest_track_s", pa.float64(), "from the first to the last face of the longest track"),
        column("face_size_px", pa.float32(), "median longer side of the face boxes in source pixels"),
        column("sharpness", pa.float32(), "median sharpness of the crops (variance of the Laplacian)"),
        column("duration_s", pa.float64(), "duration in seconds"),
        column("frames_total", pa.int32(), "frames in the container's index"),
        NOTES,
        *CREDENTIALS,
        column(
            "passes",
            pa.int8(),
            "1: settled by the first look, 2: processed as a whole; null: there was no first look",
        ),
        column("content_sha256", pa.string(), "hash of all bytes; null where only a part was read"),
        column("size_bytes", pa.int64(), "size as read"),
        column("detector", pa.string(), "detector used"),
        *SCORED_BY,
        column("made_with", pa.string(), "versions of what decoded, detected and scored"),
        column("decode_seconds", pa.float64(), "time spent opening and decoding"),
        column("detect_seconds", pa.float64(), "time spent finding faces"),
        *PROVENANCE,
    ]
)

# Two outputs of the score job, video by video.
CHANGES = pa.schema(
    [
        column("video_id", pa.string(), "path relative to the listed root; in either output", False),
        *(
            column(f"{name}_{when}", kind, f"{name} {words}; null where the video is not in it")
            for when, words in (("before", "in the earlier output"), ("after", "in this output"))
            for name, kind in (
                ("content_sha256", pa.string()),
                ("status", pa.string()),
                ("score", pa.float64()),
                ("verdict", pa.string()),
            )
        ),
        column("difference", pa.float64(), "score_after - score_before; null unless both are there"),
    ]
)
