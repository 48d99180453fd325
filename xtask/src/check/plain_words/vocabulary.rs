//! The replaced words, and the uses of them that stay.

/// Words with one replacement.
pub(super) struct Replaced {
    /// Words and phrases in lower case. One that begins with a backtick is code, found exactly as it is written.
    pub(super) patterns: &'static [&'static str],
    /// What to write instead.
    pub(super) instead: &'static str,
}

/// A legitimate use.
pub(super) struct Allowed {
    pub(super) patterns: &'static [&'static str],
    /// The beginning of the file's path.
    pub(super) path: &'static str,
    /// A part of the line.
    pub(super) containing: &'static str,
    /// For readers of this list.
    #[allow(dead_code, reason = "it documents the entry")]
    pub(super) reason: &'static str,
}

const fn replaced(patterns: &'static [&'static str], instead: &'static str) -> Replaced {
    Replaced { patterns, instead }
}

pub(super) const REPLACED: [Replaced; 29] = [
    replaced(
        &["told", "tell", "tells", "telling", "say", "says", "said", "saying"],
        "report, notify, return, log or expose",
    ),
    replaced(&["called off", "call off", "calls off", "calls it off", "call it off"], "cancelled, cancels"),
    replaced(
        &["taken in", "takes in", "begun", "let go", "lets go", "handed back", "hands back", "hand back"],
        "accepted, started, released",
    ),
    replaced(&["answer made", "`made::", "`mod made", "`made.rs", "`struct Made"], "result, `ProofResult`"),
    replaced(&["`handlers/witnesses", "`mod witnesses", "`struct Received"], "upload, `WitnessUpload`"),
    replaced(&["crew", "workshop", "supplies"], "job system, job context"),
    replaced(&["hub"], "job watchers"),
    replaced(
        &["suspect", "suspects", "suspected", "acquit", "acquits", "acquitted"],
        "crash quarantine, clear",
    ),
    replaced(&["kept"], "stored, retained"),
    replaced(&["ending"], "outcome"),
    replaced(&["skill", "skills", "`kinds::", "`mod kinds", "`jobs/kinds"], "job kinds, capabilities"),
    replaced(&["off the record"], "`audit_unavailable`"),
    replaced(&["stranger", "strangers"], "require_edge_secret, unclaimable jobs, or who it is"),
    replaced(&["worn", "shed", "`Grown"], "proof limit, memory reclaim, memory growth"),
    replaced(&["surroundings"], "environment"),
    replaced(&["lenient"], "raw setting"),
    replaced(&["patience"], "retry policy, limit"),
    replaced(&["`promise", "`promises", "`enum Promise", "`Promise::Read", "`Promise::Write"], "durability"),
    replaced(
        &["places", "room", "rooms", "seat", "seats", "`Hold", "`Place"],
        "path, location, crate, module, memory budget, permit",
    ),
    replaced(&["inflate", "inflates", "inflated", "inflating"], "decompress"),
    replaced(&["artefact", "artefacts"], "artifact"),
    replaced(
        &["circuit rows", "rows needs", "rows of a circuit", "rows of the circuit", "`2^15 rows"],
        "circuit size",
    ),
    replaced(&["verifier target", "verifier targets"], "target"),
    replaced(&["seeds"], "the baseline server"),
    replaced(&["home number", "`--queue"], "`--instance-number`, `--prover-queue-max`, `--job-queue-max`"),
    replaced(&["garbled", "garble"], "bad response; name the cause"),
    replaced(
        &["inflates too far", "`job_over", "again later", "mend", "mends"],
        "the settled code, `Fix`, `retry`",
    ),
    replaced(&["else all there are"], "default: all"),
    replaced(
        &["bear", "bears", "anew", "keeps house", "no longer than may be", "without more ado"],
        "carries, again, regenerated, runs maintenance, at most",
    ),
];

const fn allowed(
    patterns: &'static [&'static str],
    path: &'static str,
    containing: &'static str,
    reason: &'static str,
) -> Allowed {
    Allowed { patterns, path, containing, reason }
}

pub(super) const ALLOWED: [Allowed; 4] = [
    allowed(&["verifier target"], "", "verifierTarget", "an option of bb.js"),
    allowed(&["verifier target"], "", "--verifier_target", "a flag of bb"),
    allowed(&["`promises"], "", "fs/promises", "a module of Node.js"),
    allowed(&["taken in"], "", "taken in turn", "another meaning"),
];
