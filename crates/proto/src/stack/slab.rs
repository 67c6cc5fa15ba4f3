//! Places with generations: a handle to something that is gone finds nothing, not its successor.

/// Index and generation.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Handle {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, value: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Handle { index, generation: place.generation }
    }

    pub(super) fn get(&self, h: Handle) -> Option<&T> {
        self.places.get(h.index as usize).filter(|p| p.generation == h.generation)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, h: Handle) -> Option<&mut T> {
        self.places.get_mut(h.index as usize).filter(|p| p.generation == h.generation)?.value.as_mut()
    }

    pub(super) fn remove(&mut self, h: Handle) -> Option<T> {
        let place = self.places.get_mut(h.index as usize).filter(|p| p.generation == h.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(h.index);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((Handle { index: i as u32, generation: p.generation }, p.value.as_ref()?)))
    }
}
