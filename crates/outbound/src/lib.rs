//! Requests to servers of others, whose URLs come from callers.
//!
//! A server inside a network reaches what its callers do not. So the operator lists the hosts that it may be made to call;
//! a name must resolve to an address that its host may have, and the connection is made to that address; and redirects are
//! not followed.
//!
//! Imports run down this list only.
//!
//! - [`allowed_hosts`]: which hosts may be called.
//! - [`mod@client`]: an HTTP client that connects only where it may.
//! - [`reach`]: which IP addresses are public.

pub mod allowed_hosts;
pub mod client;
pub mod reach;

pub use allowed_hosts::{AllowedHost, AllowedHosts, RefusedUrl, RemoteUrl};
pub use client::{Timeouts, client, is_caused_by_address, root_certificates};
