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

// NewClient is what a service calls in main.
func NewClient(ctx context.Context) (*secrets.Client, error) {
	backend, err := awssm.New(ctx, awssm.WithPrefix("prod/shop/")) // the region is that of AWS_REGION or the profile
	if err != nil {
		return nil, err
	}
	return secrets.New(backend, middleware.Standard())
}

func Example() {
	// In a test, a server of the package awstest stands for the service.
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
