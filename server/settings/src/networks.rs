//! Addresses and networks of peers that are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// An address or a network, as Python's strict `ipaddress.ip_network` reads it: host bits must be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("{0:?} is not an IP address or network")]
    Form(String),
    #[error("{given} has host bits set: write {meant}")]
    HostBits { given: String, meant: String },
}

impl Network {
    /// True if the network holds the address. An IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`), as a socket on `[::]`
    /// reports it, counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// A prefix length, or for IPv4 a netmask (`255.255.255.0`) or hostmask (`0.0.0.255`).
fn prefix_length(text: &str, address: IpAddr) -> Option<u8> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|prefix| *prefix <= bits);
    }
    if !address.is_ipv4() {
        return None;
    }
    let mask = text.parse::<Ipv4Addr>().ok()?.to_bits();
    if mask.leading_ones() + mask.trailing_zeros() >= 32 {
        return u8::try_from(mask.leading_ones()).ok();
    }
    if mask.leading_zeros() + mask.trailing_ones() >= 32 {
        return u8::try_from(mask.leading_zeros()).ok();
    }
    None
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let prefix = match length {
            Some(length) => prefix_length(length, address).ok_or_else(form)?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address {
            Ok(network)
        } else {
            Err(NetworkError::HostBits { given: text.to_owned(), meant: network.to_string() })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The peers that a setting such as `forwarded_allow_ips` names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Peers {
    /// `*`: every peer.
    pub any: bool,
    pub networks: Vec<Network>,
}

impl Peers {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.any || self.networks.iter().any(|network| network.contains(address))
    }
}

impl TryFrom<Vec<String>> for Peers {
    type Error = NetworkError;

    fn try_from(list: Vec<String>) -> Result<Self, Self::Error> {
        let any = list.iter().any(|item| item == "*");
        let networks =
            list.iter().filter(|item| *item != "*").map(|item| item.parse()).collect::<Result<_, _>>()?;
        Ok(Self { any, networks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_pythons_strict_ip_network_reads_them() {
        for (text, expected) in [
            ("127.0.0.1", Some("127.0.0.1/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.0/255.0.0.0", Some("10.0.0.0/8")),
            ("10.0.0.0/0.255.255.255", Some("10.0.0.0/8")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("::/0", Some("::/0")),
            ("fd00::/8", Some("fd00::/8")),
            ("192.168.1.1/24", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/255.0.255.0", None),
            ("10.0.0", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(
                text.parse::<Network>().ok().map(|network| network.to_string()).as_deref(),
                expected,
                "{text:?}"
            );
        }
        assert_eq!(
            "192.168.1.1/24".parse::<Network>().map_err(|error| error.to_string()),
            Err("192.168.1.1/24 has host bits set: write 192.168.1.0/24".to_owned())
        );
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let peers = Peers::try_from(vec!["10.0.0.0/8".to_owned(), "::1".to_owned()]).unwrap();
        for (address, inside) in [
            ("10.1.2.3", true),
            ("11.0.0.0", false),
            ("::1", true),
            ("::2", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:11.1.2.3", false),
        ] {
            assert_eq!(peers.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Peers::try_from(vec!["*".to_owned()]).unwrap().contains("203.0.113.9".parse().unwrap()));
        assert!(!Peers::try_from(Vec::new()).unwrap().contains("127.0.0.1".parse().unwrap()));
    }
}
