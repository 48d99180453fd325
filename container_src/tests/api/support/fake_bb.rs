//! Fake bb programs, for faults that the real bb does not produce on demand.
//!
//! A fake bb reads its behaviour whenever it is started. A test can therefore change the behaviour and check that the
//! server recovers.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use edgeprove_prover::barretenberg::{
    version::BB_REPORTS,
    wire::{self, Message},
};

use super::paths;

/// What a fake bb does when it is started to prove. It has printed its version before, and a warm one has completed the
/// handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Runs the real bb.
    Real,
    /// Reads, but neither responds nor ends.
    Hang,
    /// Responds with garbage.
    Garbage,
    /// Takes 200 MB of memory as soon as a proof is requested.
    TakeMemory,
    /// Exits with an error as soon as a proof is requested.
    Die,
    /// Runs the real bb, but the first one that verifies is killed.
    DieOnceVerifying,
    /// Writes more to its standard error than a pipe holds, then runs the real bb.
    FloodStderr,
    /// Runs the real bb, but keeps running when its standard input has ended, and ignores signals to end.
    Stay,
    /// Never completes the handshake.
    NoHandshake,
    /// Exits at once with an error.
    ExitsAtStart,
    /// Exits at once with 0, without having done anything.
    DoesNothing,
}

impl Behaviour {
    fn script(self) -> &'static str {
        match self {
            Self::Real => "exec $real \"$@\"",
            Self::Hang => "shake_hands \"$@\"; cat >/dev/null; sleep 600",
            Self::Garbage => "shake_hands \"$@\"; head -c 1 >/dev/null; echo garbage; sleep 600",
            Self::TakeMemory => {
                "shake_hands \"$@\"; head -c 1 >/dev/null; x=$(head -c 200000000 /dev/zero | tr '\\0' x); sleep 600"
            }
            Self::Die => "shake_hands \"$@\"; head -c 1 >/dev/null; echo 'I give up' >&2; exit 3",
            Self::DieOnceVerifying => {
                "[ \"$1\" = verify ] && mkdir \"$0.died\" 2>/dev/null && kill -9 $$; exec $real \"$@\""
            }
            Self::FloodStderr => {
                "yes \"$(head -c 380 /dev/zero | tr '\\0' x)\" | head -c 1000000 >&2; exec $real \"$@\""
            }
            Self::Stay => "trap '' TERM INT HUP; $real \"$@\"; sleep 600",
            Self::NoHandshake => "sleep 600",
            Self::ExitsAtStart => "exit 9",
            Self::DoesNothing => "exit 0",
        }
    }
}

/// A fake bb program.
#[derive(Debug)]
pub(crate) struct FakeBb {
    behaviour: PathBuf,
    program: PathBuf,
}

impl FakeBb {
    pub(crate) fn new(dir: &Path, behaviour: Behaviour) -> Self {
        let Message::Whole(hello) = wire::ping().unwrap() else { unreachable!("a ping contains no witness") };
        let fake = Self { behaviour: dir.join("behaviour"), program: dir.join("bb") };
        fake.switch_to(behaviour);
        let script = format!(
            "#!/bin/sh\n\
             [ \"$1\" = --version ] && echo {BB_REPORTS} && exit\n\
             real={real}\n\
             shake_hands() {{ [ \"$1\" = msgpack ] && head -c {hello} | $real \"$@\"; }}\n\
             . {behaviour}\n",
            real = paths::bb().display(),
            hello = hello.len(),
            behaviour = fake.behaviour.display(),
        );
        fs::write(&fake.program, script).unwrap();
        fs::set_permissions(&fake.program, fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    /// Changes the behaviour from the next start on.
    pub(crate) fn switch_to(&self, behaviour: Behaviour) {
        let draft = self.behaviour.with_extension("draft");
        fs::write(&draft, format!("{}\n", behaviour.script())).unwrap();
        fs::rename(draft, &self.behaviour).unwrap();
    }

    /// Whether [`Behaviour::DieOnceVerifying`] has killed a bb.
    pub(crate) fn has_died_verifying(&self) -> bool {
        self.program.with_extension("died").exists()
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.program.clone()
    }
}
