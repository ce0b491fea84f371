package soak_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// awsServer is AWS Secrets Manager on loopback, with outages like those of a [server], and denials and deletions of single secrets.
type awsServer struct {
	*awstest.Server

	began  time.Time
	calm   atomic.Bool
	stop   chan struct{}
	done   chan struct{}
	puts   atomic.Int64
	faults [phases]atomic.Int64

	mu     sync.Mutex
	whole  timeline
	phases timeline
}

func newAWS(w *world, seed uint64, keys []string) sourceOf {
	s := &awsServer{Server: awstest.New(), began: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	s.whole = timeline{rng: rand.New(rand.NewPCG(seed, 1)), draw: outages}
	weights := odds{healthy: 70, slow: 8, hang: 3, broken: 4, throttled: 4, reset: 4, truncated: 3, garbage: 2, empty: 2}
	s.phases = timeline{rng: rand.New(rand.NewPCG(seed, 2)), draw: func(rng *rand.Rand, _ int) (int, time.Duration) {
		return int(weights.draw(rng)), between(rng, 20*time.Millisecond, 150*time.Millisecond)
	}}
	for _, key := range keys {
		s.put(w.name, key, 1)
	}
	s.Handle(s.hook)
	go s.rotate(w.name, keys, rand.New(rand.NewPCG(seed, 3)))
	return sourceOf{
		backend: s.backend(w),
		calm: func() {
			close(s.stop)
			<-s.done
			s.calm.Store(true)
		},
		stop:      s.Close,
		rotations: s.puts.Load,
		faults: func() map[string]int64 {
			all := make(map[string]int64)
			for p := range phases {
				if n := s.faults[p].Load(); p != healthy && n > 0 {
					all[p.String()] = n
				}
			}
			return all
		},
	}
}

func (s *awsServer) backend(w *world) secrets.Backend {
	keys := s.Credentials()
	theirs := secretsmanager.New(secretsmanager.Options{
		Region:       s.Region(),
		BaseEndpoint: aws.String(s.URL()),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}, nil
		}),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = 2, time.Millisecond
		}),
	})
	b, err := awssm.New(context.Background(), awssm.WithClient(theirs), awssm.WithName(w.name))
	if err != nil {
		panic(err)
	}
	return b
}

func (s *awsServer) put(source, key string, version uint64) {
	s.Put(key, string(newBody(source, key, version, 0)))
	s.puts.Add(1)
}

// rotate writes new versions, one key at a time, and sometimes denies or deletes one.
func (s *awsServer) rotate(source string, keys []string, rng *rand.Rand) {
	defer close(s.done)
	defer s.AllowAll()
	gone := ""
	for version := uint64(2); ; version++ {
		select {
		case <-s.stop:
			if gone != "" {
				s.Restore(gone)
			}
			return
		case <-time.After(between(rng, time.Millisecond, 4*time.Millisecond)):
		}
		key := keys[rng.IntN(len(keys))]
		switch n := rng.IntN(100); {
		case n < 4:
			s.Deny("GetSecretValue", key)
			s.faults[denied].Add(1)
		case n < 8:
			s.AllowAll()
		case n < 10 && gone == "":
			s.Delete(key)
			gone = key
			s.faults[deleted].Add(1)
		case n < 12 && gone != "":
			s.Restore(gone)
			gone = ""
		case n < 13:
			s.ResetCalls() // otherwise they fill the memory
		case key != gone:
			s.put(source, key, version)
		}
	}
}

func (s *awsServer) hook(r *awstest.Request) *awstest.Response {
	s.mu.Lock()
	t := time.Since(s.began)
	p := phase(s.whole.at(t))
	if own := phase(s.phases.at(t)); p == healthy {
		p = own
	}
	late := between(s.phases.rng, 20*time.Millisecond, 120*time.Millisecond)
	s.mu.Unlock()
	if s.calm.Load() {
		return nil
	}
	s.faults[p].Add(1)
	switch p {
	case slow:
		answer := r.Answer()
		answer.Delay = late
		return answer
	case hang:
		return &awstest.Response{Stall: true}
	case broken:
		return awstest.Fault("InternalServiceError", "")
	case throttled:
		return awstest.Fault("ThrottlingException", "")
	case reset:
		return &awstest.Response{Reset: true}
	case truncated:
		return r.Answer().Truncated()
	case garbage:
		return &awstest.Response{Body: "<html>" + strings.Repeat("x", 100)}
	case empty:
		return &awstest.Response{}
	default:
		return nil
	}
}
