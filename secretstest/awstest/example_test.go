package awstest_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func Example() {
	server := awstest.New() // in a test: awstest.NewServer(t)
	defer server.Close()
	server.Put("prod/db", `{"user":"app","password":"correct horse"}`)

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	keys := server.Credentials()
	client := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(server.URL()),
		Region:       server.Region(),
		Credentials:  credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken),
		HTTPClient:   &http.Client{Transport: transport},
	})
	read := func() string {
		out, err := client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/db")})
		if err != nil {
			return "an error"
		}
		return *out.SecretString
	}

	fmt.Println(read())
	server.Put("prod/db", `{"user":"app","password":"battery staple"}`) // a rotation
	fmt.Println(read())
	server.Deny("GetSecretValue", "prod/db") // a revocation
	fmt.Println(read())
	fmt.Println(server.Count("GetSecretValue"), server.Calls()[2].Code)
	// Output:
	// {"user":"app","password":"correct horse"}
	// {"user":"app","password":"battery staple"}
	// an error
	// 3 AccessDeniedException
}

// Two requests fail. The SDK's retries hide that from the program, but the server has recorded them.
func ExampleServer_FailNext() {
	server := awstest.New()
	defer server.Close()
	server.Put("token", "t-1")
	server.FailNext(2, "GetSecretValue", awstest.Fault("InternalServiceError", ""))

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	keys := server.Credentials()
	client := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(server.URL()),
		Region:       server.Region(),
		Credentials:  credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, ""),
		HTTPClient:   &http.Client{Transport: transport},
	})
	out, err := client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("token")})
	fmt.Println(*out.SecretString, err)
	for _, call := range server.Calls() {
		fmt.Println(call.Attempt, call.Status, call.Code)
	}
	// Output:
	// t-1 <nil>
	// 1 500 InternalServiceError
	// 2 500 InternalServiceError
	// 3 200
}

// NewServer and Setenv are enough for a program that uses the SDK's default configuration.
func ExampleNewServer() {
	_ = func(t *testing.T) { // in a test file: func TestLogin(t *testing.T)
		server := awstest.NewServer(t)
		server.Put("prod/db", `{"password":"correct horse"}`)
		server.Setenv(t)

		backend, err := awssm.New(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer backend.Close()
		if _, err := backend.Fetch(t.Context(), secrets.Ref{Path: "prod/db"}); err != nil {
			t.Error(err)
		}
	}
	// Output:
}

// New starts a server without a test. A rotation writes AWSPENDING first, and then promotes it.
func ExampleNew() {
	ctx := context.Background()
	server := awstest.New(awstest.WithRegion("eu-central-1"))
	defer server.Close()
	server.Put("prod/db", "correct horse")

	keys := server.Credentials()
	backend, err := awssm.New(ctx, awssm.WithConfig(aws.Config{
		Region:       server.Region(),
		BaseEndpoint: aws.String(server.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, ""),
	}))
	if err != nil {
		panic(err)
	}
	defer backend.Close()

	server.PutVersion("prod/db", "battery staple", "AWSPENDING")
	server.Promote("prod/db")
	s, err := backend.Fetch(ctx, secrets.Ref{Path: "prod/db"})
	fmt.Println(s.Reveal(), err)
	// Output: battery staple <nil>
}
