//! Which IP addresses are public.
//!
//! A server inside a network reaches what its callers do not: itself, its neighbours, and the service by which a cloud gives
//! machines their credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anybody on the internet.
    Public,
    /// A machine of the same network, or this machine.
    Private,
    /// Nobody, several machines, or the service of a cloud that gives machines their credentials.
    Never,
}

/// The services of clouds that have no link-local address.
const CLOUD_SERVICES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

impl Reach {
    /// Who has this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if CLOUD_SERVICES.contains(&address) {
            return Self::Never;
        }
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        // This network, link-local, protocol assignments, 6to4 relays, documentation, multicast and reserved.
        [0 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Reach::Never,
        // Loopback, private, of carriers, and of benchmarks.
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => {
            Reach::Private
        }
        _ => Reach::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if address == Ipv6Addr::LOCALHOST {
        return Reach::Private;
    }
    match address.segments() {
        // IPv4 in IPv6: mapped, and as a NAT64 gateway translates it.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Reach::of(Ipv4Addr::new(a, b, c, d).into())
        }
        // Unique local.
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Documentation, tunnels, and other assignments to protocols.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Never,
        // The addresses that are assigned to the internet.
        [0x2000..=0x3fff, ..] => Reach::Public,
        // Link-local, multicast, unspecified, IPv4 in its old form, and everything that is not assigned.
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(address: &str) -> Reach {
        Reach::of(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "192.0.1.1", "223.255.255.255"] {
            assert_eq!(reach(address), Reach::Public, "{address}");
        }
        for address in ["2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::101:101"] {
            assert_eq!(reach(address), Reach::Public, "{address}");
        }
    }

    #[test]
    fn internal_addresses_are_private() {
        for address in ["127.0.0.1", "127.255.0.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]
        {
            assert_eq!(reach(address), Reach::Private, "{address}");
        }
        for address in ["100.64.0.1", "::1", "fc00::1", "fdff::1", "::ffff:127.0.0.1", "64:ff9b::a00:1"] {
            assert_eq!(reach(address), Reach::Private, "{address}");
        }
    }

    #[test]
    fn credentials_of_clouds_and_groups_are_out_of_reach() {
        for address in ["169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1", "100.100.100.200"] {
            assert_eq!(reach(address), Reach::Never, "{address}");
        }
        for address in ["::", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "::7f00:1"] {
            assert_eq!(reach(address), Reach::Never, "{address}");
        }
        for address in ["2002:7f00:1::1", "2001::1", "2001:db8::1", "64:ff9b::a9fe:a9fe", "168.63.129.16"] {
            assert_eq!(reach(address), Reach::Never, "{address}");
        }
    }
}
