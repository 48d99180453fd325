//! Opens a sealed body while it arrives, in constant memory.

use std::{mem, sync::Arc};

use bytes::{Buf as _, Bytes, BytesMut};
use hpke::{
    Deserializable as _, Kem, OpModeR, aead::AeadCtxR, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256, setup_receiver,
};
use sha2::{Digest as _, Sha256};

use crate::{
    binding::Binding,
    error::{TIME_WINDOW, UnsealError},
    format::{ChunkLength, HEAD_BYTES, Head, LENGTH_BYTES, associated_data},
    keys::{KeySource, SealingKeys},
    replays::Replays,
};

/// How long a body is remembered after its time. When the window is over, its time refuses it, also at servers whose clocks
/// differ from this one's by as much again.
const REMEMBERED_MS: u64 = 1000 * (2 * TIME_WINDOW.as_secs() + 1);

/// A sealed body that has arrived: its sender has shown that it sealed it. Servers that open the same bodies remember it for each
/// other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Identifies the body: a digest of its head, in hexadecimal digits.
    pub id: String,
    /// When every server refuses the body for its time, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Everything that a server needs to open sealed bodies.
#[derive(Debug)]
pub struct Unsealing {
    /// Its keys.
    pub keys: SealingKeys,
    replays: Replays,
    started_ms: u64,
}

impl Unsealing {
    /// Opens bodies with keys of this source. The server started at `started_ms`.
    #[must_use]
    pub fn new(source: KeySource, started_ms: u64) -> Self {
        Self { keys: SealingKeys::new(source), replays: Replays::default(), started_ms }
    }

    fn check_time(&self, time_ms: u64, now_ms: u64) -> Result<(), UnsealError> {
        check_window(time_ms, now_ms)?;
        // What arrived before the start is not remembered.
        if time_ms < self.started_ms { Err(UnsealError::BeforeStart) } else { Ok(()) }
    }
}

fn check_window(time_ms: u64, now_ms: u64) -> Result<(), UnsealError> {
    let difference_ms = time_ms.abs_diff(now_ms);
    if u128::from(difference_ms) > TIME_WINDOW.as_millis() {
        return Err(UnsealError::Time { seconds: difference_ms / 1000, is_future: time_ms > now_ms });
    }
    Ok(())
}

type Context = AeadCtxR<AesGcm256, HkdfSha256, X25519HkdfSha256>;

/// Opens one body. [`Self::push`] adds bytes that arrived, [`Self::next_chunk`] takes the plaintext of complete chunks, and
/// [`Self::finish`] checks that the body is complete.
pub struct Unsealer {
    unsealing: Arc<Unsealing>,
    binding: Binding,
    /// The account whose share of the memory of replays the body takes.
    account: Arc<str>,
    /// When the body arrived, where somebody who is trusted received and stored it before.
    arrived_ms: Option<u64>,
    pending: BytesMut,
    state: State,
    arrival: Option<Arrival>,
}

enum State {
    Head,
    Chunks {
        context: Box<Context>,
        index: u64,
        /// The head, until a chunk shows that its sender sealed this body.
        unproven: Option<Head>,
    },
    Done,
}

impl Unsealer {
    /// Opens a body that is bound to this request.
    #[must_use]
    pub fn new(unsealing: Arc<Unsealing>, binding: Binding, account: Arc<str>) -> Self {
        Self {
            unsealing,
            binding,
            account,
            arrived_ms: None,
            pending: BytesMut::new(),
            state: State::Head,
            arrival: None,
        }
    }

    /// Opens a body that arrived at this time at somebody who is trusted, and who has refused it if it arrived before. It may
    /// be older than the window of times, and come again.
    #[must_use]
    pub fn of_stored_body(self, arrived_ms: u64) -> Self {
        Self { arrived_ms: Some(arrived_ms), ..self }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The plaintext of the next complete chunk; `None` until more bytes arrive, and at the end.
    pub fn next_chunk(&mut self, now_ms: u64) -> Result<Option<Bytes>, UnsealError> {
        if matches!(self.state, State::Head) {
            let Some(head) = self.pending.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
            let head = Head::read(head)?;
            self.pending.advance(HEAD_BYTES);
            self.state = State::Chunks {
                context: Box::new(self.context(&head, now_ms)?),
                index: 0,
                unproven: Some(head),
            };
        }
        let State::Chunks { context, index, unproven } = &mut self.state else {
            return if self.pending.is_empty() { Ok(None) } else { Err(UnsealError::TrailingBytes) };
        };
        let Some(length) = self.pending.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = ChunkLength::read(*length)?;
        let Some(ciphertext) = self.pending.get(LENGTH_BYTES..LENGTH_BYTES + length.ciphertext) else {
            return Ok(None);
        };
        let data = associated_data(*index, length.is_last);
        let plaintext = context.open(ciphertext, &data).map_err(|_| UnsealError::Chunk { index: *index })?;
        if let Some(head) = mem::take(unproven)
            && self.arrived_ms.is_none()
        {
            let expires_ms = head.time_ms.saturating_add(REMEMBERED_MS);
            self.unsealing.replays.remember(head.encapsulated, expires_ms, &self.account, now_ms)?;
            let digest = Sha256::new().chain_update(head.bound()).chain_update(head.encapsulated).finalize();
            self.arrival = Some(Arrival { id: hex::encode(digest), expires_ms });
        }
        self.pending.advance(LENGTH_BYTES + length.ciphertext);
        *index += 1;
        if length.is_last {
            self.state = State::Done;
        }
        Ok(Some(plaintext.into()))
    }

    /// The arrival of the body, once, when its first chunk was opened.
    pub fn take_arrival(&mut self) -> Option<Arrival> {
        self.arrival.take()
    }

    /// Checks that the body is complete. No more bytes will arrive.
    pub fn finish(&self) -> Result<(), UnsealError> {
        match self.state {
            State::Done if self.pending.is_empty() => Ok(()),
            State::Done => Err(UnsealError::TrailingBytes),
            State::Head | State::Chunks { .. } => Err(UnsealError::Truncated),
        }
    }

    fn context(&self, head: &Head, now_ms: u64) -> Result<Context, UnsealError> {
        let key = self.unsealing.keys.find(head.key, now_ms).ok_or(UnsealError::UnknownKey)?;
        match self.arrived_ms {
            Some(arrived_ms) => check_window(head.time_ms, arrived_ms)?,
            None => self.unsealing.check_time(head.time_ms, now_ms)?,
        }
        let unfit = |_| UnsealError::Chunk { index: 0 };
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&head.encapsulated);
        let info = self.binding.info(&head.bound());
        // HPKE refuses encapsulated keys of small order here, such as one of zeros.
        setup_receiver(&OpModeR::Base, &key.private, &encapsulated.map_err(unfit)?, &info).map_err(unfit)
    }
}
