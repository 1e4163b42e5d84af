//! Three nodes that hold every quorum queue together, one of which can be killed or cut off from the others.

use std::sync::Arc;

use anyhow::Context as _;

use crate::{Node, Packages, Settings, site::Site};

/// A cluster of three on this machine.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts three nodes and joins them. A node that finds itself in a minority pauses, as RabbitMQ's guide advises for clusters of three.
    pub fn start(packages: Packages, settings: &Settings) -> anyhow::Result<Self> {
        let site = Arc::new(Site::open(packages)?);
        let settings = Settings { more: format!("{}cluster_partition_handling = pause_minority\n", settings.more), ..settings.clone() };
        let nodes = ["one", "two", "three"].iter().map(|name| Node::lay(Arc::clone(&site), name, &settings));
        let nodes = nodes.collect::<anyhow::Result<Vec<Node>>>()?;
        // The first makes the cookie; the others find it.
        let (first, others) = nodes.split_first().context("three nodes")?;
        first.restart()?;
        others.iter().try_for_each(Node::launch)?;
        for node in others {
            node.restarted()?;
            node.ctl(&["stop_app"])?;
            node.ctl(&["join_cluster", &first.name()])?;
            node.ctl(&["start_app"])?;
        }
        Ok(Self { nodes })
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Cuts a node off: it and the others take each other for gone. Its clients still reach it.
    pub fn cut_off(&self, node: &Node) -> anyhow::Result<()> {
        // In one breath: cut off from one and not yet from the other, all three would see a split and two of them pause.
        let others = self.names_beside(node);
        let cut = format!("[begin erlang:set_cookie(N, stranger), erlang:disconnect_node(N) end || N <- [{others}]].");
        node.ctl(&["eval", &cut]).map(drop)
    }

    /// Lets a node that was cut off find the others again.
    pub fn join_again(&self, node: &Node) -> anyhow::Result<()> {
        let others = self.names_beside(node);
        let join = format!("[begin erlang:set_cookie(N, erlang:get_cookie()), net_adm:ping(N) end || N <- [{others}]].");
        node.ctl(&["eval", &join]).map(drop)
    }

    fn names_beside(&self, node: &Node) -> String {
        let others = self.nodes.iter().filter(|other| other.name() != node.name());
        others.map(|other| format!("'{}'", other.name())).collect::<Vec<_>>().join(",")
    }
}
