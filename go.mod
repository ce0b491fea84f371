module github.com/seed-5482dd03/secrets

go 1.26

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/matryer/is v1.4.1
	github.com/puzpuzpuz/xsync/v4 v4.5.0
	go.uber.org/goleak v1.3.0
	gopkg.in/yaml.v3 v3.0.1
)

require github.com/kr/text v0.2.0 // indirect
