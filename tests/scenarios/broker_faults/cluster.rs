//! Three nodes: one is killed, one is cut off from the others; a majority goes on and nothing confirmed is lost.

use std::time::Instant;

use system_tests::{
    rabbit::{self, Cluster, Node, Queue, Settings},
    relay::Relay,
};

use super::desk::{all_acked, taken, two_plugins};

fn blocking<T>(act: impl FnOnce() -> anyhow::Result<T>) -> T {
    tokio::task::block_in_place(act).expect("the cluster does as it is told")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the cluster lives in the machine's time")]
#[expect(clippy::print_stdout, reason = "the figures of the run, for who reads it")]
async fn a_cluster_that_loses_a_node_and_then_has_one_cut_off_loses_nothing() {
    let Some(cluster) = rabbit::cluster(&Settings::default()) else { return };
    let [one, two, three] = cluster.nodes() else { panic!("a cluster has three nodes") };
    // As through a balancer, which leads to a node that works.
    let relay = Relay::to(one.port()).await;
    let host = two_plugins(Queue::at(relay.url("%2f")).acked_by_broker()).start().await;
    let mut ids = taken(&host, 50).await;

    blocking(|| one.kill());
    relay.lead_to(two.port());
    ids.extend(taken(&host, 50).await);
    blocking(|| one.restart());
    all_acked(&host, &ids, 2).await;

    cut_off(&cluster, two);
    relay.lead_to(three.port());
    let begun = Instant::now();
    ids.extend(taken(&host, 1).await);
    println!("accepted again {:?} after a node was cut off", begun.elapsed());
    ids.extend(taken(&host, 49).await);
    blocking(|| cluster.join_again(two));
    all_acked(&host, &ids, 2).await;
}

fn cut_off(cluster: &Cluster, node: &Node) {
    blocking(|| cluster.cut_off(node));
}
