//! Which peers are proxies whose word about scheme and path is believed (`forwarded_allow_ips`).

use std::net::{IpAddr, Ipv4Addr};

use crate::reactor::socket::Peer;

/// An address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// `forwarded_allow_ips`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustedPeers {
    everybody: bool,
    networks: Vec<Network>,
}

impl TrustedPeers {
    /// Each entry is `*`, an address, or a network `ADDRESS/BITS`.
    pub(crate) fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut trusted = Self::default();
        for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                trusted.everybody = true;
                continue;
            }
            let network = Network::parse(entry)
                .ok_or_else(|| format!("{entry:?} is not an address, a network such as 10.0.0.0/8, or *"))?;
            trusted.networks.push(network);
        }
        Ok(trusted)
    }

    /// A unix socket is reached only by those whom its file mode lets in, so its peers are trusted, as in Gunicorn.
    pub(crate) fn trusts(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Local => true,
            Peer::Internet(_) if self.everybody => true,
            Peer::Internet(address) => self.networks.iter().any(|network| network.contains(address.ip())),
        }
    }
}

/// How many bits a netmask (`255.255.0.0`) or a hostmask (`0.0.255.255`) leaves to the network, as Python's
/// `ipaddress` reads them.
fn prefix_of_mask(mask: Ipv4Addr) -> Option<u8> {
    let mask = mask.to_bits();
    let mask = if mask >> 31 == 0 && mask != 0 { !mask } else { mask };
    (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones() as u8)
}

impl Network {
    fn parse(entry: &str) -> Option<Self> {
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => match prefix.parse() {
                Ok(prefix) => Some(prefix).filter(|prefix| *prefix <= longest)?,
                Err(_) => prefix_of_mask(prefix.parse().ok()?).filter(|_| address.is_ipv4())?,
            },
            None => longest,
        };
        Some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(ours) & mask == u32::from(theirs) & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(ours) & mask == u128::from(theirs) & mask
            }
            // An IPv4 client on a dual-stack listener shows as ::ffff:a.b.c.d.
            (IpAddr::V4(_), IpAddr::V6(theirs)) => {
                theirs.to_ipv4_mapped().is_some_and(|theirs| self.contains(theirs.into()))
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(entries: &[&str], peer: &str) -> bool {
        let address = std::net::SocketAddr::new(peer.parse().unwrap(), 1);
        TrustedPeers::parse(entries.iter().copied()).unwrap().trusts(&Peer::Internet(address))
    }

    #[test]
    fn addresses_networks_and_everybody() {
        assert!(trusts(&["127.0.0.1", "::1"], "127.0.0.1"));
        assert!(trusts(&["127.0.0.1", "::1"], "::1"));
        assert!(!trusts(&["127.0.0.1"], "127.0.0.2"));
        assert!(trusts(&["10.0.0.0/8"], "10.200.3.4"));
        assert!(!trusts(&["10.0.0.0/8"], "11.0.0.1"));
        assert!(trusts(&["fd00::/8"], "fd12::1"));
        assert!(trusts(&["*"], "8.8.8.8"));
        assert!(trusts(&["0.0.0.0/0"], "8.8.8.8"));
        assert!(trusts(&["10.0.0.0/8"], "::ffff:10.1.1.1"));
        assert!(trusts(&["10.1.0.0/255.255.0.0"], "10.1.9.9"));
        assert!(!trusts(&["10.1.0.0/255.255.0.0"], "10.2.0.1"));
        assert!(trusts(&["10.1.0.0/0.0.255.255"], "10.1.9.9"));
        assert!(!trusts(&[], "127.0.0.1"));
    }

    #[test]
    fn unix_peers_are_trusted() {
        assert!(TrustedPeers::default().trusts(&Peer::Local));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["localhost", "10.0.0.0/33", "::1/129", "10.0.0.0/x", "10.0.0.0/255.0.255.0", "::/255.0.0.0"]
        {
            assert!(TrustedPeers::parse([bad]).is_err(), "{bad}");
        }
    }
}
