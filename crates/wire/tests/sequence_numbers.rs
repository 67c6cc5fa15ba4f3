//! The order of sequence numbers is modulo 2^32.

use polypath_wire::SeqNum;
use proptest::prelude::*;

#[test]
fn the_number_after_the_largest_is_zero() {
    let last = SeqNum(u32::MAX);
    assert_eq!(last.wrapping_add(1), SeqNum(0));
    assert_eq!(SeqNum(0).wrapping_sub(1), last);
    assert!(last.before(SeqNum(0)));
    assert!(SeqNum(0).after(last));
    assert_eq!(SeqNum(3).distance(SeqNum(u32::MAX - 1)), 5);
    assert_eq!(SeqNum(u32::MAX - 1).distance(SeqNum(3)), -5);
}

proptest! {
    #[test]
    fn within_half_the_space_addition_moves_forward(start: u32, step in 1..=i32::MAX) {
        let earlier = SeqNum(start);
        let later = earlier.wrapping_add(step.cast_unsigned());
        prop_assert!(earlier.before(later) && later.after(earlier));
        prop_assert!(!later.before(earlier) && !earlier.after(later));
        prop_assert_eq!(later.distance(earlier), step);
        prop_assert_eq!(later.wrapping_sub(step.cast_unsigned()), earlier);
    }

    #[test]
    fn no_number_is_before_or_after_itself(number: u32) {
        let number = SeqNum(number);
        prop_assert!(!number.before(number) && !number.after(number));
    }
}
