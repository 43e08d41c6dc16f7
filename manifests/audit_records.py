"""Records of audits: what people say of sampled questions. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnswer:
    """What one auditor says of one sampled question."""

    id: str
    """`<audit> <auditor> <question>`."""
    audit: str
    """Name of the sample."""
    auditor: str
    """Name of the auditor."""
    clip: str
    """Id of the clip."""
    question: str
    """Id of the question."""
    kind: str
    """Kind of the question."""
    needs: str
    """What the question was measured to need when it was sampled, or `not verified`."""
    packed: bool
    """Whether the question was in the shards when it was sampled."""
    stratum: str
    """Group of questions that the sample drew it from."""
    weight: float
    """Number of questions of the group that it stands for."""
    right: bool
    """Whether the reference answer is right."""
    without_sound: bool
    """Whether the question can be answered without the sound."""
    without_picture: bool
    """Whether the question can be answered without the picture."""
