//! Storage by small number, so that the event heap moves numbers and not packets.

/// Values by number; numbers are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.entries[number as usize] = Some(value);
            return number;
        }
        self.entries.push(Some(value));
        (self.entries.len() - 1) as u32
    }

    /// Takes a value out. It must be there.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let value = self.entries[number as usize].take().expect("a number is used once");
        self.free.push(number);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_apart_and_numbers_are_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), "a");
        let c = slab.insert("c");
        assert_eq!((slab.remove(b), slab.remove(c), slab.entries.len()), ("b", "c", 2));
    }
}
