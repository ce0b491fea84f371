module github.com/seed-5482dd03/secrets

go 1.26
