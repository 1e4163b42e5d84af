//! The server these tests lean on finds out what GitHub would not understand.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use system_tests::github::{GitHub, TOKEN};

async fn call(github: &GitHub, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", github.url()))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("user-agent", "a test")
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_github_would_not_understand_is_found_out() {
    let github = GitHub::start().await;
    let issues = "/repos/acme/shop/issues";
    for (method, path, body, expected) in [
        ("POST", issues, Some(json!({"title": "a", "labels": ["x"]})), ""),
        ("POST", issues, Some(json!({"title": 7})), ""),
        ("GET", "/repos/acme/shop/issues?state=all&per_page=100&labels=7", None, ""),
        ("POST", issues, Some(json!({"labels": ["x"]})), "`title` is missing"),
        ("POST", issues, Some(json!({"title": "a", "lables": ["x"]})), "body.lables: there is no such property"),
        ("POST", issues, Some(json!({"title": true})), "is no \"string\"; nor"),
        ("POST", issues, None, "the body is missing"),
        ("PATCH", "/repos/acme/shop/issues/1", Some(json!({"state": "shut"})), "is none of"),
        ("GET", "/repos/acme/shop/issues?state=shut", None, "is none of"),
        ("GET", "/repos/acme/shop/issues?page=two", None, "is no \"integer\""),
        ("GET", "/repos/acme/shop/issues?status=open", None, "no query parameter `status`"),
        ("GET", "/repos/acme/shop/issues/one", None, "is no \"integer\""),
        ("GET", "/repos/acme/shop/isues", None, "no such operation"),
        ("PUT", "/repos/acme/shop/branches/main/protection", Some(json!({"enforce_admins": true})), "`required_status_checks` is missing"),
    ] {
        call(&github, method, path, body.as_ref()).await;
        let problems = github.take_problems();
        if GitHub::is_strict() {
            assert_eq!(problems.len(), usize::from(!expected.is_empty()), "{method} {path}: {problems:?}");
            assert!(problems.iter().all(|problem| problem.contains(expected)), "{method} {path}: {problems:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_githubs_own_with_the_repositorys_values_in_it() {
    let github = GitHub::start().await;
    github.repository().add_issue(12, "Prices", "");
    let (status, issue) = call(&github, "GET", "/repos/acme/shop/issues/12", None).await;
    assert_eq!((status, &issue["title"], &issue["number"]), (200, &json!("Prices"), &json!(12)));
    if GitHub::is_strict() {
        assert!(issue["reactions"].is_object() || issue["node_id"].is_string(), "{issue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages() {
    let github = GitHub::start().await;
    for _ in 0..3 {
        github.repository().add_issue(12, "Prices", "");
        github.repository().add_comment(12, "ada", "MEMBER", "text");
    }
    let (_, first) = call(&github, "GET", "/repos/acme/shop/issues/12/comments?per_page=2", None).await;
    let (_, second) = call(&github, "GET", "/repos/acme/shop/issues/12/comments?per_page=2&page=2", None).await;
    assert_eq!((first.as_array().map(Vec::len), second.as_array().map(Vec::len)), (Some(2), Some(1)));
}
