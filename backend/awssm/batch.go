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
	// maxIDs is how many secrets one BatchGetSecretValue may ask for.
	maxIDs = 20
	// minIDs is from how many on a batch is used: it has a limit of 100 calls a second, single reads one of 10,000.
	minIDs = 3
	// maxPages bounds the pages of one batch. Each has a secret, or an error, in all that was seen; empty ones are allowed.
	maxPages = 2 * maxIDs
)

// batchers are the batchers of the regions: secrets of several regions have no call in common.
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
	if len(b.byRegion) < maxClients { // whoever gives the keys can make up regions
		b.byRegion[region] = batcher
	}
	return batcher
}

// fetchAll answers refs, which are of one region and distinct, in order.
func (b *Backend) fetchAll(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	var (
		results = make([]secrets.Result, len(refs))
		queries = make([]query, 0, len(refs))
		places  = make(map[query]int, len(refs)) // in refs
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
		if r.Err == nil && r.Secret.IsZero() { // code of the program, within the SDK, has ended the goroutine
			r.Err = fail(secrets.ErrUnknown, "the call ended its goroutine")
		}
		results[places[single[n]]] = r
	}
	return results
}

// batches reports whether q may be asked for in a batch, which brings current versions only, and takes a permission.
func (b *Backend) batches(q query) bool {
	_, denied := b.batchDenied.Load(q.region)
	return !b.noBatch && !denied && !q.pinned()
}

// batch reads queries, of one region, with one BatchGetSecretValue. Those that it brings no certain answer for are not in
// what it returns.
func (b *Backend) batch(ctx context.Context, queries []query) (found map[query]secrets.Result) {
	found = make(map[query]secrets.Result, len(queries))
	defer func() { _ = recover() }() // see get, which is asked then
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
			b.refused(ctx, err, queries, found)
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

// page is what the pages of a batch have said.
type page struct {
	values []answer
	errors []types.APIErrorType
}

// settle puts into found what the pages of a batch say of queries. Each secret is answered once; where that is not so, a denial wins, and
// any other contradiction is no answer.
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
		// Of an ARN, which may be of another account, the truth is in a read of its own: whether a batch reaches it is not documented.
		case fault == nil, q.isARN(), errors.Is(fault, secrets.ErrUnknown):
			continue
		default:
			result.Err = b.placed(q, fault)
		}
		found[q] = result
	}
}

// valueOf returns the value that is certainly of q, or nil. A batch does not echo what was asked for.
func (p page) valueOf(q query, queries []query) (value *answer, err error) {
	for _, v := range p.values {
		// A name is of this account, an ARN may be of another, which may have the same name.
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

// errorOf returns what a batch says is wrong with q, whose value it may have brought too, or nil. A denial goes before all else.
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

// refused puts the failure err of a whole batch into found, where it is one of each secret too. Otherwise they are to be read
// one by one.
func (b *Backend) refused(ctx context.Context, err error, queries []query, found map[query]secrets.Result) {
	cause := err
	api, _ := errors.AsType[smithy.APIError](cause)
	err = failure(ctx, cause)
	switch {
	case api != nil && isDenial(api.ErrorCode()):
		// It is a permission of its own, which many policies do not give, and some for a region.
		b.batchDenied.Store(queries[0].region, true)
		return
	case api != nil && isThrottle(api.ErrorCode()): // and so is its limit
		return
	case errors.Is(err, secrets.ErrUnavailable) && status(cause) == http.StatusForbidden: // of a proxy, which may let single reads pass
		return
	case errors.Is(err, secrets.ErrUnavailable), errors.Is(err, secrets.ErrUnauthenticated), ctx.Err() != nil:
	default: // one of them may have spoilt it for all
		return
	}
	for _, q := range queries {
		if _, answered := found[q]; !answered {
			found[q] = secrets.Result{Err: err}
		}
	}
}
