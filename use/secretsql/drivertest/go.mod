module github.com/seed-5482dd03/secrets/use/secretsql/drivertest

go 1.26.0

require (
	github.com/aws/aws-sdk-go-v2 v1.48.0
	github.com/go-sql-driver/mysql v1.10.1
	github.com/jackc/pgx/v5 v5.13.0
	github.com/matryer/is v1.4.1
	github.com/seed-5482dd03/secrets v0.0.0
	go.uber.org/goleak v1.3.0
)

replace github.com/seed-5482dd03/secrets => ../../..
