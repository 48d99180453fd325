//! An HTTP client that connects only where it may.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use crate::reach::Reach;

/// How long a connection stays open for another request.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The time that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For a request with its answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(10) }
    }
}

/// Sets up a client for URLs that [`crate::AllowedHosts`] has admitted, of hosts with this reach. It sends
/// no request.
pub fn client(reach: HostReach, timeouts: Timeouts) -> Result<Client, reqwest::Error> {
    // reqwest uses the process-wide provider. An earlier call has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_MAX)
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request)
        .dns_resolver(CheckedNames(reach))
        .tls_certs_merge(root_certificates()?)
        .build()
}

/// Certificates that a client trusts in addition to those of the system: an image from scratch has none.
pub fn root_certificates() -> Result<Vec<Certificate>, reqwest::Error> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)).collect()
}

/// Which addresses a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostReach {
    /// Public and private ones: the operator listed the host.
    Listed,
    /// Public ones only.
    PublicOnly,
}

impl HostReach {
    /// Whether the host may have an address of this kind.
    #[must_use]
    pub const fn includes(self, address: Reach) -> bool {
        match address {
            Reach::Public => true,
            Reach::Private => matches!(self, Self::Listed),
            Reach::Never => false,
        }
    }
}

/// All addresses of a name are internal.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no address of the name may be used")]
struct NoAllowedAddress;

/// Whether a request failed because its host has only addresses that it must not have.
#[must_use]
pub fn is_caused_by_address(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NoAllowedAddress>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Resolves names to addresses that the host may have.
#[derive(Debug)]
struct CheckedNames(HostReach);

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            let may_have = |found: &SocketAddr| reach.includes(Reach::of(found.ip()));
            let allowed: Vec<_> = found.into_iter().filter(may_have).collect();
            if allowed.is_empty() {
                return Err(NoAllowedAddress.into());
            }
            // The client connects to one of these, without another look-up.
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
