//! How many connections there are, in all and of one address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::address::Client;

/// Counts connections; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    connections_max: usize,
    per_client_max: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_client: HashMap<Client, usize>,
}

/// One connection's place; given back on drop.
#[derive(Debug)]
pub(super) struct Permit {
    inside: Arc<Mutex<Inside>>,
    client: Option<Client>,
}

impl Gate {
    pub(super) fn new(connections_max: usize, per_client_max: usize) -> Self {
        Self { connections_max, per_client_max, inside: Arc::default() }
    }

    /// A place for a connection, if there is one. `client` is `None` for a trusted proxy, behind which are many.
    pub(super) fn enter(&self, client: Option<Client>) -> Option<Permit> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = client.and_then(|client| inside.by_client.get(&client)).copied().unwrap_or(0);
        if inside.all >= self.connections_max || of_client >= self.per_client_max {
            return None;
        }
        inside.all += 1;
        if let Some(client) = client {
            inside.by_client.insert(client, of_client + 1);
        }
        Some(Permit { inside: Arc::clone(&self.inside), client })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = inside.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                inside.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_and_each_address_have_their_bound_and_a_place_comes_back() {
        let client = |last| Some(Client::of([192, 0, 2, last].into()));
        let gate = Gate::new(3, 2);
        let first = gate.enter(client(1));
        let _second = gate.enter(client(1)).unwrap();
        assert!(first.is_some() && gate.enter(client(1)).is_none(), "the address is full");
        let _proxy = gate.enter(None).unwrap();
        assert!(gate.enter(client(2)).is_none(), "the house is full");
        drop(first);
        assert!(gate.enter(client(1)).is_some());
    }
}
