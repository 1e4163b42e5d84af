//! What each call does to the repository, and what GitHub answers.

use serde_json::{Value, json};

use super::{
    Repository,
    description::Call,
    repository::{NOW, bot, person},
    server::{Answer, decode},
};

/// Carries a call out. `example` is GitHub's own answer, into which this repository's values go.
pub(super) fn answer(repository: &mut Repository, call: &Call<'_>, example: &Value, url: &str) -> Answer {
    let parts: Vec<String> = call.path.split('/').skip(1).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let ["repos", "acme", "shop", rest @ ..] = parts.as_slice() else { return not_found() };
    let body = call.body.unwrap_or(&Value::Null);
    match (call.method, rest) {
        ("GET", ["issues"]) => list(call, example, url, &repository.matching_issues(call)),
        ("POST", ["issues"]) => created(example, repository.open_issue(body)),
        ("GET", ["issues", number]) => found(example, number.parse().ok().and_then(|number: u64| repository.issues.get(&number))),
        ("PATCH", ["issues", number]) => changed(example, repository.change_issue(number, body)),
        ("GET", ["issues", number, "comments"]) => list(call, example, url, &repository.comments_on(number, call)),
        ("POST", ["issues", number, "comments"]) => created(example, repository.comment(number, body)),
        ("POST", ["issues", number, "labels"]) => changed(&Value::Null, repository.label(number, body)),
        ("DELETE", ["issues", number, "labels", name]) => changed(&Value::Null, repository.unlabel(number, name)),
        ("POST", ["issues", number, "assignees"]) => created(example, repository.assign(number, body, true)),
        ("DELETE", ["issues", number, "assignees"]) => changed(example, repository.assign(number, body, false)),
        ("POST", ["issues", "comments", id, "reactions"]) => repository.react(id, body),
        ("GET", ["pulls", number]) => found(example, repository.pull(number).as_ref()),
        ("GET", ["pulls", number, "reviews"]) => list(call, example, url, &repository.reviews_of(number)),
        ("POST", ["pulls", number, "requested_reviewers"]) => created(example, repository.request_reviews(number, body)),
        ("GET", ["deployments"]) => list(call, example, url, &repository.matching_deployments(call)),
        ("POST", ["deployments"]) => created(example, Some(repository.deploy(body))),
        ("GET", ["deployments", id, "statuses"]) => list(call, example, url, &repository.states_of(id)),
        ("POST", ["deployments", id, "statuses"]) => created(example, repository.report(id, body)),
        ("GET", ["labels"]) => list(call, example, url, &repository.labels),
        ("POST", ["labels"]) => repository.make_label(example, body),
        ("PATCH", []) => changed(example, Some(repository.set(body))),
        ("GET", ["branches", name]) => found(example, repository.branches.contains(*name).then(|| json!({"name": name})).as_ref()),
        ("PUT", ["branches", name, "protection"]) => repository.protect(name, body),
        ("GET", ["collaborators", login, "permission"]) => found(example, Some(&repository.permission(login))),
        ("GET", ["actions", "runs", id, "jobs"]) => wrapped("jobs", example, &repository.jobs_of(id)),
        ("GET", ["actions", "runs"]) => wrapped("workflow_runs", example, &repository.runs_of(call, "head_sha")),
        ("GET", ["actions", "workflows", _, "runs"]) => wrapped("workflow_runs", example, &repository.runs_of(call, "event")),
        ("POST", ["actions", "runs", id, "rerun-failed-jobs"]) => repository.rerun(id),
        ("POST", ["actions", "workflows", name, "dispatches"]) => repository.start(name, body),
        _ => Answer::new(501, json!({"message": "this server does not do that"})),
    }
}

fn not_found() -> Answer {
    Answer::new(404, json!({"message": "Not Found", "status": "404"}))
}

fn found(example: &Value, value: Option<&Value>) -> Answer {
    value.map_or_else(not_found, |value| Answer::new(200, merged(example, value)))
}

fn changed(example: &Value, value: Option<Value>) -> Answer {
    value.map_or_else(not_found, |value| Answer::new(200, merged(example, &value)))
}

fn created(example: &Value, value: Option<Value>) -> Answer {
    value.map_or_else(not_found, |value| Answer::new(201, merged(example, &value)))
}

/// One page, and where the next one is.
fn list(call: &Call<'_>, example: &Value, url: &str, items: &[Value]) -> Answer {
    let number = |name: &str, default: usize| query(call, name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let (size, page) = (number("per_page", 30), number("page", 1));
    let is_more = items.len() > page * size;
    let page_items = items.iter().skip((page - 1) * size).take(size).map(|item| merged(&example[0], item)).collect();
    let mut answer = Answer::new(200, Value::Array(page_items));
    if is_more {
        answer.headers.push(("link", format!("<{url}{}?page={}>; rel=\"next\"", call.path, page + 1)));
    }
    answer
}

fn wrapped(key: &str, example: &Value, items: &[Value]) -> Answer {
    let items: Vec<Value> = items.iter().map(|item| merged(&example[key][0], item)).collect();
    Answer::new(200, json!({"total_count": items.len(), key: items}))
}

/// GitHub's example with the repository's values in the place of its own. Its example of an issue is a pull request: ours say which they are.
fn merged(example: &Value, value: &Value) -> Value {
    let (Some(example), Some(ours)) = (example.as_object(), value.as_object()) else { return value.clone() };
    let mut merged = example.clone();
    merged.remove("pull_request");
    merged.extend(ours.clone());
    merged.into()
}

fn query<'a>(call: &'a Call<'_>, name: &str) -> Option<&'a str> {
    call.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Repository {
    fn known(&mut self, number: &str) -> Option<&mut Value> {
        self.issues.get_mut(&number.parse().ok()?)
    }

    fn matching_issues(&self, call: &Call<'_>) -> Vec<Value> {
        let (state, label) = (query(call, "state").unwrap_or("open"), query(call, "labels"));
        let fits = |(number, issue): &(&u64, &Value)| {
            (state == "all" || issue["state"] == state) && label.is_none_or(|label| self.labels_of(**number).contains(&label))
        };
        self.issues.iter().rev().filter(fits).map(|(_, issue)| issue.clone()).collect()
    }

    fn open_issue(&mut self, body: &Value) -> Option<Value> {
        let number = self.issues.keys().last().copied().unwrap_or_default() + 1;
        self.add_issue(number, body["title"].as_str()?, body["body"].as_str().unwrap_or_default());
        let labels: Vec<Value> = texts(&body["labels"]).into_iter().map(|name| json!({"id": 1, "name": name})).collect();
        let issue = self.issue(number);
        issue["user"] = bot();
        issue["labels"] = labels.into();
        Some(issue.clone())
    }

    fn change_issue(&mut self, number: &str, body: &Value) -> Option<Value> {
        let issue = self.known(number)?;
        for (key, value) in body.as_object()? {
            issue[key] = value.clone();
        }
        Some(issue.clone())
    }

    fn comments_on(&self, number: &str, call: &Call<'_>) -> Vec<Value> {
        let since = query(call, "since").unwrap_or_default();
        let of = |comment: &&Value| comment["issue"].as_u64() == number.parse().ok() && comment["updated_at"].as_str() >= Some(since);
        self.comments.iter().filter(of).cloned().collect()
    }

    fn comment(&mut self, number: &str, body: &Value) -> Option<Value> {
        let (id, issue) = (self.next_id(), self.known(number)?["number"].clone());
        let comment = json!({
            "id": id, "issue": issue, "body": body["body"], "user": bot(), "author_association": "NONE", "created_at": NOW, "updated_at": NOW,
        });
        self.comments.push(comment.clone());
        Some(comment)
    }

    fn label(&mut self, number: &str, body: &Value) -> Option<Value> {
        let labels = self.known(number)?["labels"].as_array_mut()?;
        for name in texts(&body["labels"]) {
            if !labels.iter().any(|label| label["name"] == name) {
                labels.push(json!({"id": 1, "name": name}));
            }
        }
        Some(labels.clone().into())
    }

    fn unlabel(&mut self, number: &str, name: &str) -> Option<Value> {
        let labels = self.known(number)?["labels"].as_array_mut()?;
        let index = labels.iter().position(|label| label["name"] == name)?;
        labels.remove(index);
        Some(labels.clone().into())
    }

    /// Who has no permission here cannot be assigned, and GitHub says nothing about it.
    fn assign(&mut self, number: &str, body: &Value, on: bool) -> Option<Value> {
        let permissions = self.permissions.clone();
        let issue = self.known(number)?;
        let assignees = issue["assignees"].as_array_mut()?;
        for login in texts(&body["assignees"]) {
            assignees.retain(|user| user["login"] != login);
            if on && permissions.contains_key(login) {
                assignees.push(person(login));
            }
        }
        Some(issue.clone())
    }

    fn react(&mut self, comment: &str, body: &Value) -> Answer {
        let (Ok(comment), Some(content)) = (comment.parse(), body["content"].as_str()) else { return not_found() };
        let is_new = self.reactions.insert((comment, content.to_owned()));
        Answer::new(if is_new { 201 } else { 200 }, json!({"id": 1, "content": content}))
    }

    fn pull(&self, number: &str) -> Option<Value> {
        let number: u64 = number.parse().ok()?;
        let mut pull = self.pulls.get(&number)?.clone();
        pull["labels"] = self.issues[&number]["labels"].clone();
        Some(pull)
    }

    fn reviews_of(&self, number: &str) -> Vec<Value> {
        number.parse::<u64>().ok().and_then(|number| self.reviews.get(&number).cloned()).unwrap_or_default()
    }

    fn request_reviews(&mut self, number: &str, body: &Value) -> Option<Value> {
        let pull = self.pulls.get_mut(&number.parse().ok()?)?;
        let people = texts(&body["reviewers"]).into_iter().map(person);
        pull["requested_reviewers"].as_array_mut()?.extend(people);
        let teams = texts(&body["team_reviewers"]).into_iter().map(|slug| json!({"slug": slug, "name": slug}));
        pull["requested_teams"].as_array_mut()?.extend(teams);
        Some(pull.clone())
    }

    fn matching_deployments(&self, call: &Call<'_>) -> Vec<Value> {
        let fits =
            |deployment: &&Value| ["ref", "environment"].iter().all(|key| query(call, key).is_none_or(|value| deployment[*key] == value));
        self.deployments.iter().rev().filter(fits).cloned().collect()
    }

    fn deploy(&mut self, body: &Value) -> Value {
        let mut deployment = body.clone();
        deployment["id"] = self.next_id().into();
        deployment["sha"] = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc".into();
        self.deployments.push(deployment.clone());
        deployment
    }

    fn states_of(&self, deployment: &str) -> Vec<Value> {
        let states = deployment.parse().ok().and_then(|id: u64| self.deployment_states.get(&id).cloned()).unwrap_or_default();
        states.into_iter().rev().collect()
    }

    fn report(&mut self, deployment: &str, body: &Value) -> Option<Value> {
        let mut state = body.clone();
        state["id"] = self.next_id().into();
        self.deployment_states.entry(deployment.parse().ok()?).or_default().push(state.clone());
        Some(state)
    }

    fn make_label(&mut self, example: &Value, body: &Value) -> Answer {
        if self.labels.iter().any(|label| label["name"] == body["name"]) {
            let errors = json!([{"resource": "Label", "code": "already_exists", "field": "name"}]);
            return Answer::new(422, json!({"message": "Validation Failed", "errors": errors}));
        }
        self.labels.push(body.clone());
        Answer::new(201, merged(example, body))
    }

    fn set(&mut self, body: &Value) -> Value {
        self.settings.extend(body.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        json!({"name": "shop", "full_name": "acme/shop"})
    }

    fn protect(&mut self, branch: &str, body: &Value) -> Answer {
        if !self.branches.contains(branch) {
            return Answer::new(404, json!({"message": "Branch not found"}));
        }
        self.protection.insert(branch.to_owned(), body.clone());
        Answer::new(200, json!({"enabled": true}))
    }

    fn permission(&self, login: &str) -> Value {
        let permission = self.permissions.get(login).map_or("none", String::as_str);
        json!({"permission": permission, "role_name": permission, "user": person(login)})
    }

    fn jobs_of(&self, run: &str) -> Vec<Value> {
        run.parse::<u64>().ok().and_then(|run| self.jobs.get(&run).cloned()).unwrap_or_default()
    }

    fn runs_of(&self, call: &Call<'_>, key: &str) -> Vec<Value> {
        self.runs.iter().filter(|run| query(call, key).is_none_or(|value| run[key] == value)).cloned().collect()
    }

    fn rerun(&mut self, run: &str) -> Answer {
        let Some(found) = self.runs.iter_mut().find(|found| found["id"].as_u64() == run.parse().ok()) else { return not_found() };
        (found["status"], found["conclusion"]) = ("queued".into(), Value::Null);
        self.reruns.extend(run.parse::<u64>());
        Answer::new(201, json!({}))
    }

    fn start(&mut self, workflow: &str, body: &Value) -> Answer {
        let mut started = body.clone();
        started["workflow"] = workflow.into();
        self.started.push(started);
        let run = json!({"id": 30_000 + self.started.len(), "event": "workflow_dispatch", "head_branch": body["ref"], "head_sha": "0".repeat(40)});
        self.runs.push(run);
        Answer::new(204, Value::Null)
    }
}
