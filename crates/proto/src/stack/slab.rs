//! Places with serial numbers: a handle to something that is gone finds nothing, not its successor.

/// A place, and which of all that were ever inserted it held.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle {
    index: u32,
    serial: u32,
}

impl Handle {
    /// 0 for the first that was inserted, and so on.
    pub(super) fn serial(self) -> u32 {
        self.serial
    }
}

#[derive(Debug)]
struct Place<T> {
    serial: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    next_serial: u32,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Slab { places: Vec::new(), free: Vec::new(), next_serial: 0 }
    }

    pub(super) fn insert(&mut self, value: T) -> Handle {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { serial: 0, value: None });
            (self.places.len() - 1) as u32
        });
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        self.places[index as usize] = Place { serial, value: Some(value) };
        Handle { index, serial }
    }

    pub(super) fn get(&self, h: Handle) -> Option<&T> {
        self.places.get(h.index as usize).filter(|p| p.serial == h.serial)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, h: Handle) -> Option<&mut T> {
        self.places.get_mut(h.index as usize).filter(|p| p.serial == h.serial)?.value.as_mut()
    }

    pub(super) fn remove(&mut self, h: Handle) -> Option<T> {
        let place = self.places.get_mut(h.index as usize).filter(|p| p.serial == h.serial)?;
        let value = place.value.take()?;
        self.free.push(h.index);
        Some(value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(i, p)| Some((Handle { index: i as u32, serial: p.serial }, p.value.as_mut()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((Handle { index: i as u32, serial: p.serial }, p.value.as_ref()?)))
    }
}
