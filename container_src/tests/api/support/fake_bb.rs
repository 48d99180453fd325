//! Programs in bb's place, for faults that bb itself does not produce on demand.
//!
//! A fake is the real bb until it is told otherwise: it looks up its part whenever it is started, so that a test can
//! change the part and see the server recover.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use edgeprove_prover::barretenberg::{
    version::BB_REPORTS,
    wire::{self, Message},
};

use super::places;

/// What a fake does when it is started to prove. It has given its version, and a warm one has shaken hands as bb does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// What bb does.
    Real,
    /// Reads, and never answers nor ends.
    Hang,
    /// Answers what no bb would.
    Garbage,
    /// Ends with an error as soon as it is asked for a proof.
    Die,
    /// What bb does, but the first one that is asked to verify is killed.
    DieOnceVerifying,
    /// What bb does, after far more standard error than a pipe holds.
    FloodStderr,
    /// What bb does, but goes on when its standard input has ended and when it is asked to end.
    Stay,
    /// Never shakes hands.
    Deaf,
    /// Ends at once, with an error.
    Stillborn,
    /// Ends at once, as if it had done its work.
    Idle,
}

impl Part {
    fn script(self) -> &'static str {
        match self {
            Self::Real => "exec $real \"$@\"",
            Self::Hang => "shake_hands \"$@\"; cat >/dev/null; sleep 600",
            Self::Garbage => "shake_hands \"$@\"; head -c 1 >/dev/null; echo garbage; sleep 600",
            Self::Die => "shake_hands \"$@\"; head -c 1 >/dev/null; echo 'I give up' >&2; exit 3",
            Self::DieOnceVerifying => {
                "[ \"$1\" = verify ] && mkdir \"$0.died\" 2>/dev/null && kill -9 $$; exec $real \"$@\""
            }
            Self::FloodStderr => {
                "yes \"$(head -c 380 /dev/zero | tr '\\0' x)\" | head -c 1000000 >&2; exec $real \"$@\""
            }
            Self::Stay => "trap '' TERM INT HUP; $real \"$@\"; sleep 600",
            Self::Deaf => "sleep 600",
            Self::Stillborn => "exit 9",
            Self::Idle => "exit 0",
        }
    }
}

/// A program in bb's place.
#[derive(Debug)]
pub(crate) struct FakeBb {
    part: PathBuf,
    program: PathBuf,
}

impl FakeBb {
    pub(crate) fn new(dir: &Path, part: Part) -> Self {
        let Message::Whole(hello) = wire::ping().unwrap() else { unreachable!("it carries no witness") };
        let fake = Self { part: dir.join("part"), program: dir.join("bb") };
        fake.play(part);
        let script = format!(
            "#!/bin/sh\n\
             [ \"$1\" = --version ] && echo {BB_REPORTS} && exit\n\
             real={real}\n\
             shake_hands() {{ [ \"$1\" = msgpack ] && head -c {hello} | $real \"$@\"; }}\n\
             . {part}\n",
            real = places::bb().display(),
            hello = hello.len(),
            part = fake.part.display(),
        );
        fs::write(&fake.program, script).unwrap();
        fs::set_permissions(&fake.program, fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    /// Changes what it does from its next start on.
    pub(crate) fn play(&self, part: Part) {
        let draft = self.part.with_extension("draft");
        fs::write(&draft, format!("{}\n", part.script())).unwrap();
        fs::rename(draft, &self.part).unwrap();
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.program.clone()
    }
}
