"""JSON schemas of KubeRay's RayCluster and RayJob, and of a PodMonitor, as far as people write them.

KubeRay's own custom resource definitions were found in no package of PyPI, npm or Debian, so the fields,
their types and their allowed values are written down here from KubeRay's API reference for 1.6
(https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html). Pod templates and what is inside them
are checked by Kubernetes' own schemas, and are any object here. Fields of PodMonitor are from the reference
of Prometheus' operator (https://prometheus-operator.dev/docs/api-reference/api/). A field that is not listed
is a mistake; the API server would drop it in silence.
"""

from __future__ import annotations

from typing import Any

ANY_OBJECT = {"type": "object"}
TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS_BY_NAME = {"type": "object", "additionalProperties": TEXT}


def one_of(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


AUTOSCALER = fields(
    resources=ANY_OBJECT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext=ANY_OBJECT,
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env={"type": "array"},
    envFrom={"type": "array"},
    volumeMounts={"type": "array"},
)

HEAD = fields(
    ("template", "rayStartParams"),
    template=ANY_OBJECT,
    headService=ANY_OBJECT,
    enableIngress=FLAG,
    resources=TEXTS_BY_NAME,
    labels=TEXTS_BY_NAME,
    rayStartParams=TEXTS_BY_NAME,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)

WORKERS = fields(
    ("groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"),
    suspend=FLAG,
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    resources=TEXTS_BY_NAME,
    labels=TEXTS_BY_NAME,
    rayStartParams=TEXTS_BY_NAME,
    template=ANY_OBJECT,
    scaleStrategy=fields(workersToDelete={"type": "array", "items": TEXT}),
    numOfHosts=COUNT,
)

CLUSTER = fields(
    ("headGroupSpec",),
    suspend=FLAG,
    managedBy=one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    authOptions=fields(mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=FLAG),
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS_BY_NAME,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANY_OBJECT,
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    upgradeStrategy=ANY_OBJECT,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)

JOB = fields(
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=ANY_OBJECT,
    metadata=TEXTS_BY_NAME,
    clusterSelector=TEXTS_BY_NAME,
    submitterConfig=fields(backoffLimit=COUNT),
    managedBy=one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    deletionStrategy=ANY_OBJECT,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number", "minimum": 0},
    entrypointNumGpus={"type": "number", "minimum": 0},
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)

METADATA = fields(
    ("name",), name=TEXT, namespace=TEXT, labels=TEXTS_BY_NAME, annotations=TEXTS_BY_NAME
)  # the part of Kubernetes' ObjectMeta that people write

LABELS = {"type": "array", "items": TEXT}
POD_MONITOR = fields(
    ("selector", "podMetricsEndpoints"),
    jobLabel=TEXT,
    podTargetLabels=LABELS,
    namespaceSelector=ANY_OBJECT,
    selector=fields(
        matchLabels=TEXTS_BY_NAME,
        matchExpressions={
            "type": "array",
            "items": fields(
                ("key", "operator"),
                key=TEXT,
                operator=one_of("In", "NotIn", "Exists", "DoesNotExist"),
                values=LABELS,
            ),
        },
    ),
    podMetricsEndpoints={
        "type": "array",
        "items": fields(
            port=TEXT,
            path={"type": "string", "pattern": "^/"},
            scheme=one_of("http", "https", "HTTP", "HTTPS"),
            interval={"type": "string", "pattern": "^[0-9]+(s|m|h)$"},
            scrapeTimeout=TEXT,
            relabelings={
                "type": "array",
                "items": fields(
                    sourceLabels=LABELS, targetLabel=TEXT, regex=TEXT, replacement=TEXT, action=TEXT
                ),
            },
        ),
    },
)

SCHEMAS = {
    kind: fields(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )
    for version, kind, spec in (
        ("ray.io/v1", "RayCluster", CLUSTER),
        ("ray.io/v1", "RayJob", JOB),
        ("monitoring.coreos.com/v1", "PodMonitor", POD_MONITOR),
    )
}
