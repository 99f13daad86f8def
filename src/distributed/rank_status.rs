//! `RankStatus`, what a rank says of itself before an exchange.

/// How a rank is, and where it is: what every rank tells all others before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RankStatus {
    /// The name of the exchange that the rank is about to make, cut to eight bytes.
    pub(super) name: [u8; 8],
    /// Whether it has failed; the exchange is then about why.
    pub(super) failed: bool,
    /// Its requests, as flags.
    pub(super) asks: u8,
    /// A number that must be equal on all ranks: of the step, the settings and the data.
    pub(super) place: u64,
    /// A hash of what each rank has a copy of, such as the weights.
    pub(super) replica: u64,
    /// The number of bytes that follow.
    pub(super) length: u64,
}

impl RankStatus {
    /// The number of bytes of a status.
    pub(super) const BYTES: usize = 40;

    /// A name as ranks say it.
    pub(super) fn name(name: &str) -> [u8; 8] {
        let mut bytes = [0; 8];
        for (byte, char) in bytes.iter_mut().zip(name.bytes()) {
            *byte = char;
        }
        bytes
    }

    pub(super) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.name);
        bytes[8..16].copy_from_slice(&[u8::from(self.failed), self.asks, 0, 0, 0, 0, 0, 0]);
        for (chunk, number) in
            bytes[16..].chunks_exact_mut(8).zip([self.place, self.replica, self.length])
        {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// A status from as many bytes as one has.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let number = |index: usize| {
            let mut number = [0; 8];
            for (to, from) in number.iter_mut().zip(bytes.iter().skip(8 * index)) {
                *to = *from;
            }
            number
        };
        let flags = number(1);
        Self {
            name: number(0),
            failed: flags[0] != 0,
            asks: flags[1],
            place: u64::from_le_bytes(number(2)),
            replica: u64::from_le_bytes(number(3)),
            length: u64::from_le_bytes(number(4)),
        }
    }

    /// The name as text.
    pub(super) fn what(&self) -> String {
        String::from_utf8_lossy(&self.name).trim_end_matches('\0').to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_back_from_its_bytes() {
        let status = RankStatus {
            name: RankStatus::name("validation"),
            failed: true,
            asks: 3,
            place: u64::MAX - 1,
            replica: 7,
            length: 1 << 40,
        };
        assert_eq!(RankStatus::from_bytes(&status.to_bytes()), status);
        assert_eq!(status.what(), "validati");
    }
}
