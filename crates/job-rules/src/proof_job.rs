//! Proof jobs: the name of their kind, and the stages of their attempts.

use edgeprove_protocol::JobStage;

use crate::progress::Stage;

/// The name of the kind.
pub const KIND: &str = "prove";

/// The stage of an attempt that waits for a core. On the wire it is a part of [`JobStage::Loading`].
pub const WAITING: Stage = Stage { name: "waiting", percent: 4, is_timed: false };

/// The stages of an attempt. The estimate of a proof is for its proving time and the short verification after it.
pub const STAGES: &[Stage] = &[
    stage(JobStage::Loading, false),
    WAITING,
    stage(JobStage::Proving, true),
    stage(JobStage::Verifying, false),
];

const fn stage(stage: JobStage, is_timed: bool) -> Stage {
    Stage { name: stage.as_str(), percent: stage.percent(), is_timed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_rise_to_the_end() {
        assert!(STAGES.is_sorted_by_key(|stage| stage.percent));
        let shown = STAGES.iter().map(|stage| stage.name.parse::<JobStage>());
        let unknown: Vec<_> = STAGES.iter().zip(shown).filter(|(_, shown)| shown.is_err()).collect();
        // A stage without a name on the wire is shown as loading, which must therefore be the one before it.
        assert!(matches!(&unknown[..], [(waiting, _)] if **waiting == WAITING), "{unknown:?}");
        assert_eq!(STAGES.iter().position(|stage| *stage == WAITING), Some(1));
    }
}
