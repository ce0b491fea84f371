package awssm

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/seed-5482dd03/secrets"
)

const (
	// maxIDs is the maximum number of secrets in one BatchGetSecretValue.
	maxIDs = 20
	// minIDs is the minimum number of secrets for a batch: AWS allows 100 batches a second and 10,000 single reads.
	minIDs = 3
	// maxPages bounds the pages of one batch. In practice, each page has a secret or an error, but empty pages are allowed.
	maxPages = 2 * maxIDs
)

// batchers holds one batcher per region: a call reads the secrets of one region only.
type batchers struct {
	window time.Duration
	call   func(ctx context.Context, refs []secrets.Ref) []secrets.Result

	mu       sync.Mutex
	byRegion map[string]*secrets.Batcher
}

// of returns the batcher of a region.
func (b *batchers) of(region string) *secrets.Batcher {
	b.mu.Lock()
	defer b.mu.Unlock()
	batcher, known := b.byRegion[region]
	if known {
		return batcher
	}
	batcher = secrets.NewBatcher(maxIDs, b.window, b.call)
	if b.byRegion == nil {
		b.byRegion = make(map[string]*secrets.Batcher)
	}
	if len(b.byRegion) < maxClients { // keys from outside may contain invented regions
		b.byRegion[region] = batcher
	}
	return batcher
}

// fetchAll returns the results of refs, in order. The refs are distinct and of one region.
func (b *Backend) fetchAll(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	var (
		results = make([]secrets.Result, len(refs))
		queries = make([]query, 0, len(refs))
		places  = make(map[query]int, len(refs)) // the index in refs
	)
	for i, ref := range refs {
		q, err := b.query(ref)
		if err != nil {
			results[i].Err = err
			continue
		}
		queries = append(queries, q)
		places[q] = i
	}
	single := queries
	if len(queries) >= minIDs && b.batches(queries[0]) {
		single = nil
		found := b.batch(ctx, queries)
		for _, q := range queries {
			if r, answered := found[q]; answered {
				results[places[q]] = r
			} else {
				single = append(single, q)
			}
		}
	}
	for n, r := range parallel(ctx, single, func(ctx context.Context, q query) secrets.Result {
		s, err := b.get(ctx, q)
		return secrets.Result{Secret: s, Err: err}
	}) {
		if r.Err == nil && r.Secret.IsZero() { // code of the program, called by the SDK, has ended the goroutine
			r.Err = fail(secrets.ErrUnknown, "the call ended its goroutine")
		}
		results[places[single[n]]] = r
	}
	return results
}

// batches reports whether q may be read in a batch. A batch returns current versions only and needs a permission.
func (b *Backend) batches(q query) bool {
	_, denied := b.batchDenied.Load(q.region)
	return !b.noBatch && !denied && !q.pinned()
}

// batch reads queries, of one region, with one BatchGetSecretValue. It leaves out queries without a certain answer.
func (b *Backend) batch(ctx context.Context, queries []query) (found map[query]secrets.Result) {
	found = make(map[query]secrets.Result, len(queries))
	defer func() { _ = recover() }() // get then reads the queries one by one and reports the panic
	ctx, cancel := bound(ctx)
	defer cancel()
	input := &secretsmanager.BatchGetSecretValueInput{}
	for _, q := range queries {
		input.SecretIdList = append(input.SecretIdList, q.id)
	}
	var seen page
	tokens := make(map[string]bool)
	for range maxPages {
		var output *secretsmanager.BatchGetSecretValueOutput
		err := b.call(ctx, queries[0].region, func(ctx context.Context, client *secretsmanager.Client) (err error) {
			output, err = client.BatchGetSecretValue(ctx, input)
			return err
		})
		if err != nil {
			b.settle(seen, queries, found)
			b.batchFailed(ctx, err, queries, found)
			return found
		}
		for _, value := range output.SecretValues {
			seen.values = append(seen.values, answerOf(value))
		}
		seen.errors = append(seen.errors, output.Errors...)
		token := deref(output.NextToken)
		if token == "" || tokens[token] {
			break
		}
		tokens[token] = true
		input.NextToken = &token
	}
	b.settle(seen, queries, found)
	return found
}

// page collects the pages of a batch.
type page struct {
	values []answer
	errors []types.APIErrorType
}

// settle adds the results of queries to found. The service answers each secret once. If there are several answers, a denial wins; any other
// contradiction is malformed.
func (b *Backend) settle(seen page, queries []query, found map[query]secrets.Result) {
	for _, q := range queries {
		var result secrets.Result
		value, err := seen.valueOf(q, queries)
		fault := seen.errorOf(q, value)
		switch {
		case errors.Is(fault, secrets.ErrPermissionDenied) && (value != nil || !q.isARN()):
			result.Err = b.placed(q, fault)
		case err != nil:
			result.Err = err
		case value != nil && fault != nil:
			result.Err = malformed("the service answered with a value and an error for one secret")
		case value != nil:
			result.Secret, result.Err = q.secret(*value)
		// An ARN may be of another account, and AWS does not document whether a batch reaches it. Only a single read is certain.
		case fault == nil, q.isARN(), errors.Is(fault, secrets.ErrUnknown):
			continue
		default:
			result.Err = b.placed(q, fault)
		}
		found[q] = result
	}
}

// valueOf returns the value that is certainly the one of q, or nil. The answer does not contain the IDs of the request.
func (p page) valueOf(q query, queries []query) (value *answer, err error) {
	for _, v := range p.values {
		// A name belongs to this account; an ARN may belong to another account that has a secret of the same name.
		byARN := slices.ContainsFunc(queries, func(q query) bool { return q.isARN() && q.isAnsweredBy(v) })
		switch {
		case !q.isAnsweredBy(v) || q.isARN() != byARN:
		case value != nil && !value.same(v):
			return nil, malformed("the service answered twice for one secret, with two values")
		default:
			value = &v
		}
	}
	return value, nil
}

// errorOf returns the error of a batch for q, or nil. value is the value for q in the same batch, if any. A denial wins over other errors.
func (p page) errorOf(q query, value *answer) (fault error) {
	for _, e := range p.errors {
		id, err := deref(e.SecretId), classify(deref(e.ErrorCode), deref(e.Message), 0)
		denial := errors.Is(err, secrets.ErrPermissionDenied)
		sameSecret := value != nil && id != "" && (id == deref(value.name) || id == deref(value.arn))
		if id == q.id && fault == nil || denial && (id == q.id || sameSecret) {
			fault = err
		}
	}
	return fault
}

// batchFailed adds err, which failed a whole batch, to found if a single read would fail with it too. Otherwise the secrets are read one by
// one.
func (b *Backend) batchFailed(ctx context.Context, err error, queries []query, found map[query]secrets.Result) {
	cause := err
	api, _ := errors.AsType[smithy.APIError](cause)
	err = failure(ctx, cause)
	switch {
	case api != nil && isDenial(api.ErrorCode()):
		// Batches have their own permission, which many policies lack, some for one region only.
		b.batchDenied.Store(queries[0].region, true)
		return
	case api != nil && isThrottle(api.ErrorCode()): // batches have their own limit
		return
	case errors.Is(err, secrets.ErrUnavailable) && status(cause) == http.StatusForbidden: // from a proxy, which may allow single reads
		return
	case errors.Is(err, secrets.ErrUnavailable), errors.Is(err, secrets.ErrUnauthenticated), ctx.Err() != nil:
	default: // one bad ID may have failed the batch
		return
	}
	for _, q := range queries {
		if _, answered := found[q]; !answered {
			found[q] = secrets.Result{Err: err}
		}
	}
}
