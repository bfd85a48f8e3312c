//! Random numbers for tests with many inputs: every run has equal numbers, so that a failure can be repeated.

/// A small generator of pseudo-random numbers (xorshift64*).
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x6d6f_6e67_6f74_6c73)
    }
}

impl Random {
    /// Creates the generator with a seed.
    pub fn seeded(seed: u64) -> Self {
        // Similar seeds should differ from the start, and 0 would stay 0.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((mixed ^ (mixed >> 29)).max(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which is not 0.
    ///
    /// # Panics
    ///
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).expect("a number below a usize")
    }

    /// This number of bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[0]).collect()
    }
}

/// The number of rounds of a test: `MONGOTLS_FUZZ_ROUNDS`, or else `default`.
pub fn rounds(default: u64) -> u64 {
    let wanted = std::env::var("MONGOTLS_FUZZ_ROUNDS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(default)
}
