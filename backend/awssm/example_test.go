package awssm_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// NewClient returns the client of a service, for its main.
func NewClient(ctx context.Context) (*secrets.Client, error) {
	backend, err := awssm.New(ctx, awssm.WithPrefix("prod/shop/")) // the region is that of AWS_REGION or the profile
	if err != nil {
		return nil, err
	}
	return secrets.New(backend, middleware.Standard())
}

func Example() {
	// In tests, a server of package awstest replaces AWS.
	server := awstest.New()
	defer server.Close()
	server.Put("prod/shop/database", `{"user":"app","password":"correct horse"}`)
	backend, err := awssm.New(context.Background(),
		awssm.WithPrefix("prod/shop/"),
		awssm.WithConfig(aws.Config{
			Region:       server.Region(),
			BaseEndpoint: aws.String(server.URL()),
			Credentials:  credentials.NewStaticCredentialsProvider(server.Credentials().AccessKeyID, server.Credentials().SecretAccessKey, ""),
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	found, err := client.GetMany(context.Background(), "database#user", "database#password") // one call
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found["database#user"].Reveal(), found["database#password"], server.Count("*"))
	// Output: app [REDACTED] 1
}

// In a program, New(ctx, WithPrefix("prod/shop/")) is enough: region and credentials come from the environment.
func ExampleNew() {
	server := awstest.New()
	defer server.Close()
	server.Put("prod/shop/database", "first")
	server.Put("prod/shop/database", "second")
	keys := credentials.NewStaticCredentialsProvider(server.Credentials().AccessKeyID, server.Credentials().SecretAccessKey, "")
	backend, err := awssm.New(context.Background(), awssm.WithPrefix("prod/shop/"), awssm.WithRegion(server.Region()),
		awssm.WithEndpoint(server.URL()), awssm.WithConfig(aws.Config{Credentials: keys}))
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	previous, err := client.Get(context.Background(), "database?version=AWSPREVIOUS")
	fmt.Println(previous.Reveal(), err)
	_, err = client.Get(context.Background(), "cache")
	fmt.Println(err)
	// Output:
	// first <nil>
	// secrets: aws: cache: not found: there is no such secret in this account and region; the full name is prod/shop/cache in us-east-1
}

func ExampleWithCoalescing() {
	server := awstest.New()
	defer server.Close()
	backend, err := awssm.New(context.Background(),
		awssm.WithCoalescing(50*time.Millisecond),
		awssm.WithConfig(aws.Config{
			Region:       server.Region(),
			BaseEndpoint: aws.String(server.URL()),
			Credentials:  credentials.NewStaticCredentialsProvider(server.Credentials().AccessKeyID, server.Credentials().SecretAccessKey, ""),
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var wg sync.WaitGroup
	for i := range 20 {
		key := fmt.Sprint("tenant-", i)
		server.Put(key, "secret of "+key)
		wg.Go(func() {
			if _, err := client.Get(context.Background(), key); err != nil {
				log.Print(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(server.Count("*") < 20)
	// Output: true
}
