//! Takes an input apart.

/// The bytes that are left. An input that ran out gives zeros and nothing, so that every input means something.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.slice(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// At most `length` bytes.
    pub(crate) fn slice(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes with their length in front, in two bytes.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = u16::from_be_bytes(self.array());
        self.slice(length.into())
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// `original` with up to four changes.
    pub(crate) fn altered(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(4) {
            let at = usize::from(u16::from_be_bytes(self.array())) % (bytes.len() + 1);
            let byte = self.byte();
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => _ = bytes.remove(at),
                3 => bytes.truncate(at),
                4 => {
                    let piece = bytes[at..(at + usize::from(byte)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    }
}
