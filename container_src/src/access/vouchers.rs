//! Vouchers of this server: their secret, the bounds of new ones, and the counts of their uses.

use std::{sync::Arc, time::Duration};

use edgeprove_artifacts::ArtifactStore;
use edgeprove_job_queue::store::Database;
use edgeprove_protocol::{
    Voucher,
    voucher::{InvalidVoucher, VoucherSecret},
};
use edgeprove_telemetry::Supervisor;

use super::{
    role::Rate,
    voucher_uses::{UsesOfVoucher, VoucherUses, now_s},
};

/// Makes the secret differ from every other digest of the artifact store.
const DOMAIN: &[u8] = b"edgeprove voucher secret v1";
/// The part of a minute's vouchers that a holder may mint at once.
const BURST_PART: u32 = 10;

/// Settings of vouchers.
#[derive(Debug, Clone)]
pub struct VoucherSettings {
    /// The secret that signs them, which edge and servers share. `None`: it follows from the key of the artifacts, or is made at
    /// the start.
    pub secret: Option<VoucherSecret>,
    /// The longest validity.
    pub validity_max: Duration,
    /// The most uses of one voucher.
    pub uses_max: u32,
    /// The most vouchers that one API key mints in a minute.
    pub per_minute: u32,
}

/// Vouchers of this server. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Vouchers {
    /// The bounds of new ones.
    pub settings: VoucherSettings,
    secret: Option<VoucherSecret>,
    uses: VoucherUses,
}

impl Vouchers {
    /// Vouchers with these settings. Where no secret is given, it follows from the key of the artifacts, so that it outlives the
    /// server with the data folder, and servers that share jobs have the same. Without jobs, it is new with each start.
    ///
    /// An edge could check neither, so that there are no vouchers behind an edge without a given secret.
    pub fn open(
        settings: VoucherSettings,
        jobs: Option<(&Database, &ArtifactStore)>,
        is_behind_edge: bool,
        supervisor: &Supervisor,
    ) -> Result<Self, getrandom::Error> {
        let secret = match (&settings.secret, jobs) {
            (Some(secret), _) => Some(secret.clone()),
            (None, _) if is_behind_edge => None,
            (None, Some((_, artifacts))) => Some(VoucherSecret::of_bytes(artifacts.fingerprint(&[DOMAIN]))),
            (None, None) => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes)?;
                Some(VoucherSecret::of_bytes(bytes))
            }
        };
        let uses = VoucherUses::new(jobs.map(|(database, _)| database.clone()));
        uses.start(supervisor);
        Ok(Self { settings, secret, uses })
    }

    /// Reads the token of a request.
    pub fn check(&self, token: &[u8]) -> Result<Arc<Voucher>, InvalidVoucher> {
        let secret = self.secret.as_ref().ok_or(InvalidVoucher::Disabled)?;
        let token = std::str::from_utf8(token).map_err(|_| InvalidVoucher::Form)?;
        secret.check(token, now_s()).map(Arc::new)
    }

    /// The token of a new voucher; `None` where there are no vouchers.
    #[must_use]
    pub fn sign(&self, voucher: &Voucher) -> Option<String> {
        self.secret.as_ref().map(|secret| secret.sign(voucher))
    }

    /// Whether vouchers are minted and accepted.
    #[must_use]
    pub fn are_enabled(&self) -> bool {
        self.secret.is_some()
    }

    /// How often one API key may mint.
    #[must_use]
    pub fn rate(&self) -> Rate {
        let per_minute = self.settings.per_minute;
        Rate { per_minute, burst: per_minute.div_ceil(BURST_PART) }
    }

    /// The uses of a voucher.
    #[must_use]
    pub fn uses_of(&self, voucher: &Arc<Voucher>) -> UsesOfVoucher {
        self.uses.of(voucher)
    }
}
