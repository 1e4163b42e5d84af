#!/bin/sh
# Makes what docker-compose.yml needs to be secret, once: random passwords and the files that carry them. What is there stays.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# Only the folder keeps others out: the containers' users must be able to read what is mounted from it.
chmod 0700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

put() {
  [ -e "secrets/$1" ] || cat > "secrets/$1"
}

random | put default.github
if [ ! -e secrets/redis_url ]; then
  password=$(random)
  printf 'appendonly yes\nappendfsync always\ndir /data\nrequirepass %s\n' "$password" > secrets/redis.conf
  printf 'redis://:%s@redis:6379/0' "$password" > secrets/redis_url
fi
if [ ! -e secrets/amqp_url ]; then
  password=$(random)
  printf 'default_user = hookyard\ndefault_pass = %s\n' "$password" > secrets/rabbitmq.conf
  printf 'amqp://hookyard:%s@rabbitmq:5672/%%2f' "$password" > secrets/amqp_url
fi
chmod 0644 secrets/*
echo "GitHub's webhook secret is in $(pwd)/secrets/default.github"
