//! The three costs of an operation, and the rules for them.
//!
//! Instructions depend on OpenSSL and on the processor, for which it selects the code of its ciphers: without AES in
//! hardware either side takes 22,000 more. So the difference of the bare program to its recorded number is first
//! subtracted from that of `mongotls`. The rest was equal within 5 instructions with and without that hardware. A ratio
//! of the two would not have been; it would also hide a more expensive library if the ciphers are expensive.

use std::fmt;

/// The cost of one operation in the thread that runs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) system_calls: f64,
    pub(crate) allocations: f64,
    /// The instructions in a release build.
    pub(crate) instructions: f64,
}

/// The number of system calls by which an operation may exceed the bare program, for any earlier number.
const SYSTEM_CALLS_ABOVE_FLOOR: f64 = 2.0;

/// The factor by which the instructions may rise, because compilers differ too.
const INSTRUCTIONS: f64 = 1.05;

/// Among many operations a few may differ, for example with a reply in two parts.
const CHANCE: f64 = 0.1;

/// The problem with the system calls of an operation, if any.
pub(crate) fn judge_system_calls(
    name: &str,
    now: f64,
    floor: f64,
    kept: f64,
) -> Result<(), String> {
    if now > floor + SYSTEM_CALLS_ABOVE_FLOOR + CHANCE {
        return Err(format!(
            "{name} takes {now:.2} system calls, more than {SYSTEM_CALLS_ABOVE_FLOOR} above a bare program's {floor:.2}"
        ));
    }
    if now > kept + CHANCE {
        return Err(format!(
            "{name} takes {now:.2} system calls, and took {kept:.2}"
        ));
    }
    Ok(())
}

/// The problem with the allocations of an operation, if any.
pub(crate) fn judge_allocations(name: &str, now: f64, kept: f64) -> Result<(), String> {
    if now > kept + CHANCE {
        return Err(format!(
            "{name} makes {now:.2} allocations, and made {kept:.2}"
        ));
    }
    Ok(())
}

/// The problem with the allocations that an operation of a collection makes above its prepared command, if any.
pub(crate) fn judge_above_raw(name: &str, now: f64, raw: f64, limit: f64) -> Result<(), String> {
    if now - raw > limit + CHANCE {
        return Err(format!(
            "{name} makes {now:.2} allocations, more than {limit} above the {raw:.2} of its prepared command"
        ));
    }
    Ok(())
}

/// The problem with the instructions of an operation, if any.
pub(crate) fn judge_instructions(
    name: &str,
    (now, floor): (f64, f64),
    (kept, kept_floor): (f64, f64),
) -> Result<(), String> {
    let comparable = now - (floor - kept_floor);
    let rise = comparable / kept;
    if rise > INSTRUCTIONS {
        return Err(format!(
            "{name} takes {comparable:.0} instructions where a bare program takes {kept_floor:.0}, and took {kept:.0}: {:+.1} %",
            (rise - 1.0) * 100.0
        ));
    }
    Ok(())
}

/// Tests the rules.
pub(crate) fn check_the_rules() {
    assert!(judge_system_calls("it", 3.0, 3.0, 3.0).is_ok());
    assert!(judge_system_calls("it", 3.0, 3.0, 2.0).is_err());
    assert!(judge_system_calls("it", 6.0, 3.0, 6.0).is_err());
    assert!(judge_allocations("it", 2.0, 2.0).is_ok());
    assert!(judge_allocations("it", 3.0, 2.0).is_err());
    assert!(judge_above_raw("it", 5.0, 2.0, 3.0).is_ok());
    assert!(judge_above_raw("it", 6.0, 2.0, 3.0).is_err());
    assert!(judge_instructions("it", (104.0, 90.0), (100.0, 90.0)).is_ok());
    assert!(judge_instructions("it", (106.0, 90.0), (100.0, 90.0)).is_err());
    // More expensive ciphers neither count nor hide anything.
    assert!(judge_instructions("it", (304.0, 290.0), (100.0, 90.0)).is_ok());
    assert!(judge_instructions("it", (306.0, 290.0), (100.0, 90.0)).is_err());
}

impl fmt::Display for Cost {
    /// In the notation of `kept.rs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    system_calls: {:.1},", self.system_calls)?;
        writeln!(f, "    allocations: {:.1},", self.allocations)?;
        write!(f, "    instructions: {:.1},", self.instructions)
    }
}
