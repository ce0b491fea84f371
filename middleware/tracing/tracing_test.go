package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestFetch(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	backend := secretstest.NewBackend(map[string]string{"db": `{"user":"u","password":"p"}`})
	client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)), middleware.Standard())

	caller := o.within("request", func(ctx context.Context) {
		_, err := client.Get(ctx, "db#user")
		is.NoErr(err)
	})
	span := o.one()
	is.Equal(span.Name, "secrets.fetch")
	is.Equal(span.SpanKind, trace.SpanKindClient)
	is.Equal(span.Parent.SpanID(), caller.SpanID())
	is.Equal(span.SpanContext.TraceID(), caller.TraceID())
	is.Equal(span.InstrumentationScope.Name, "github.com/seed-5482dd03/secrets/middleware/tracing")
	is.Equal(attributes(span.Attributes), map[string]any{"secrets.backend": "fake", "secrets.outcome": "ok"})
	is.Equal(span.Status.Code, codes.Unset)
	is.Equal(len(span.Links)+len(span.Events), 0)

	_, err := client.Get(t.Context(), "db#user")
	is.NoErr(err)
	_, err = client.Get(t.Context(), "db#password")
	is.NoErr(err)
	is.Equal(len(o.fetches()), 0) // hits have none

	_, err = client.Refresh(t.Context(), "db")
	is.NoErr(err)
	is.Equal(o.one().Name, "secrets.fetch")
}

// A GetMany makes a span for each document, with the number of documents in its call of the backend.
func TestFetchesOfABatch(t *testing.T) {
	for name, layers := range map[string][]secrets.Option{"alone": nil, "with all layers": {middleware.Standard(cache.WithSize(100))}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFetchesOfABatch(t, layers) })
		})
	}
}

func testFetchesOfABatch(t *testing.T, layers []secrets.Option) {
	t.Helper()
	is := is.New(t)
	o := newTelemetry(t)
	backend := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithBatch(20))
	client := open(t, backend, append(layers, secrets.WithTracing(tracing.New(o.spans, tracing.WithKeyNames())))...)
	get := func(keys ...string) map[string]map[string]any {
		client.Invalidate(keys...)
		o.exporter.Reset()
		caller := o.within("caller", func(ctx context.Context) { _, _ = client.GetMany(ctx, keys...) })
		all := make(map[string]map[string]any)
		for _, span := range o.fetches() {
			is.Equal(span.Name, "secrets.fetch")
			is.Equal(span.Parent.SpanID(), caller.SpanID())
			is.Equal(len(span.Events)+len(span.Links), 0)
			got := attributes(span.Attributes)
			is.Equal(got["secrets.backend"], "fake")
			got["status"] = strings.TrimSpace(span.Status.Code.String() + " " + span.Status.Description)
			key := got["secrets.key"].(string)
			is.Equal(all[key], nil) // one for each document
			delete(got, "secrets.key")
			delete(got, "secrets.backend")
			all[key] = got
		}
		return all
	}
	type attrs = map[string]any
	is.Equal(get("a", "b"), map[string]attrs{
		"a": {"secrets.outcome": "ok", "secrets.batch.size": int64(2), "status": "Unset"},
		"b": {"secrets.outcome": "ok", "secrets.batch.size": int64(2), "status": "Unset"},
	})
	is.Equal(get("x", "y#field", "y", "x"), map[string]attrs{
		"x": {"secrets.outcome": "not_found", "secrets.batch.size": int64(2), "status": "Unset"},
		"y": {"secrets.outcome": "not_found", "secrets.batch.size": int64(2), "status": "Unset"},
	})
	is.Equal(get("a"), map[string]attrs{"a": {"secrets.outcome": "ok", "status": "Unset"}})
	backend.FailPath("down", secrets.ErrUnavailable)
	backend.FailPath("denied", secrets.ErrPermissionDenied)
	is.Equal(get("a", "x", "down", "denied"), map[string]attrs{
		"a": {"secrets.outcome": "ok", "secrets.batch.size": int64(4), "status": "Unset"},
		"x": {"secrets.outcome": "not_found", "secrets.batch.size": int64(4), "status": "Unset"},
		"down": {
			"secrets.outcome": "unavailable", "secrets.batch.size": int64(4), "status": "Error unavailable", "error.type": "unavailable",
		},
		"denied": {
			"secrets.outcome": "permission_denied", "secrets.batch.size": int64(4), "status": "Error permission denied",
			"error.type": "permission_denied",
		},
	})
	backend.Fail(secrets.ErrUnavailable)
	unavailable := attrs{
		"secrets.outcome": "unavailable", "secrets.batch.size": int64(2), "status": "Error unavailable", "error.type": "unavailable",
	}
	is.Equal(get("v", "w"), map[string]attrs{"v": unavailable, "w": unavailable})
	backend.Recover()
	is.Equal(len(get()), 0) // no fetch
}

// Without batches, each document is a call of its own.
func TestFetchesOfAGetManyWithoutBatches(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	backend := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"})
	client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)))
	_, err := client.GetMany(t.Context(), "a", "b")
	is.NoErr(err)
	spans := o.fetches()
	is.Equal(len(spans), 2)
	for _, span := range spans {
		is.Equal(attributes(span.Attributes), map[string]any{"secrets.backend": "fake", "secrets.outcome": "ok"})
	}
}

// classes has all classes, with the name of the outcome and whether it is an error of the span.
var classes = map[error]struct {
	name   string
	failed bool
}{
	secrets.ErrNotFound:         {"not_found", false},
	secrets.ErrDeleted:          {"deleted", false},
	secrets.ErrFieldNotFound:    {"field_not_found", false},
	secrets.ErrPermissionDenied: {"permission_denied", true},
	secrets.ErrUnauthenticated:  {"unauthenticated", true},
	secrets.ErrUnavailable:      {"unavailable", true},
	secrets.ErrInvalidKey:       {"invalid_key", true},
	secrets.ErrMalformed:        {"malformed", true},
	secrets.ErrUnknown:          {"unknown", true},
	secrets.ErrClosed:           {"closed", false},
}

const canary = "canary-7f3Kq9ZxWv2m"

func TestClasses(t *testing.T) {
	for class, want := range classes {
		t.Run(want.name, func(t *testing.T) {
			is := is.New(t)
			o := newTelemetry(t)
			backend := secretstest.NewBackend(nil)
			backend.Fail(fmt.Errorf("%w: a body that quotes %s", &secrets.Error{Err: class, Detail: canary}, canary))
			layer := tracing.New(o.spans, tracing.WithMeterProvider(o.meters))
			client := open(t, backend, secrets.WithTracing(layer))
			_, err := client.Get(t.Context(), "db")
			is.True(errors.Is(err, class))
			span := o.one()
			attrs := attributes(span.Attributes)
			is.Equal(attrs["secrets.outcome"], want.name)
			if want.failed {
				is.Equal(attrs["error.type"], want.name)
				is.Equal(span.Status, sdktrace.Status{Code: codes.Error, Description: strings.ReplaceAll(want.name, "_", " ")})
			} else {
				is.Equal(attrs["error.type"], nil)
				is.Equal(span.Status, sdktrace.Status{})
			}
			secretstest.AssertNoLeak(t, canary, span, o.collect())
		})
	}
}

func TestCallersWhoGiveUp(t *testing.T) {
	for want, begin := range map[string]func(ctx context.Context) (context.Context, context.CancelFunc){
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
		"deadline_exceeded": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				o := newTelemetry(t)
				backend := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithLatency(3*time.Second))
				client := open(t, backend, secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))))
				ctx, cancel := begin(t.Context())
				defer cancel()
				_, err := client.Get(ctx, "db")
				is.True(errors.Is(err, ctx.Err()))
				span := o.one()
				is.Equal(attributes(span.Attributes)["secrets.outcome"], want)
				is.Equal(span.Status.Code == codes.Error, want == "deadline_exceeded")
				is.Equal(durationsOf(o), map[string]uint64{"fake " + want: 1})
			})
		})
	}
	// The end of the Client gives closed. The timeout of the fetch gives unavailable.
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithLatency(time.Hour))
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)), middleware.Standard())
		_, err := client.Get(t.Context(), "db")
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(attributes(o.one().Attributes)["secrets.outcome"], "unavailable")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = client.Get(t.Context(), "other") })
		synctest.Wait()
		is.NoErr(client.Close())
		wg.Wait()
		is.Equal(attributes(o.one().Attributes)["secrets.outcome"], "closed")
	})
}

func TestWaitersAreLinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithLatency(time.Second))
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)), middleware.Standard())
		var wg sync.WaitGroup
		var callers [3]trace.SpanContext
		for i := range callers {
			wg.Go(func() {
				callers[i] = o.within("caller", func(ctx context.Context) {
					for range 2 { // both join the flight
						wg.Go(func() {
							_, err := client.Get(ctx, "db")
							is.NoErr(err)
						})
					}
					time.Sleep(2 * time.Second)
				})
			})
			synctest.Wait()
		}
		wg.Go(func() { // without a span
			_, err := client.Get(t.Context(), "db")
			is.NoErr(err)
		})
		wg.Wait()
		span := o.one()
		is.Equal(span.Parent.SpanID(), callers[0].SpanID())
		is.Equal(links(span), map[string][]trace.SpanID{"waiter": {callers[1].SpanID(), callers[2].SpanID()}})
	})
}

func TestLinksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithLatency(time.Second))
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)),
			middleware.Standard(cache.WithTTL(100*time.Second), cache.WithJitter(0)))
		get := func() trace.SpanContext {
			return o.within("caller", func(ctx context.Context) {
				_, err := client.Get(ctx, "db")
				is.NoErr(err)
			})
		}
		crowd := func() {
			var wg sync.WaitGroup
			for range 300 {
				wg.Go(func() { get() })
			}
			wg.Wait()
		}
		crowd()
		is.Equal(len(o.one().Links), 128)

		time.Sleep(99*time.Second - 500*time.Millisecond)
		cause := get() // starts a renewal, during which the value expires
		time.Sleep(time.Second - time.Millisecond)
		crowd()
		span := o.one()
		is.Equal(len(span.Links), 128)
		is.Equal(span.DroppedLinks, 0)
		is.Equal(links(span)["cause"], []trace.SpanID{cause.SpanID()})
	})
}

func TestRefreshAheadIsARootOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x", "other": "y"})
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans, tracing.WithKeyNames())), secrets.WithTimeout(time.Minute),
			middleware.Standard(cache.WithTTL(100*time.Second), cache.WithJitter(0)))
		get := func(keys ...string) trace.SpanContext {
			return o.within("read", func(ctx context.Context) {
				if len(keys) > 1 {
					_, err := client.GetMany(ctx, keys...)
					is.NoErr(err)
					return
				}
				_, err := client.Get(ctx, keys[0])
				is.NoErr(err)
			})
		}
		get("db")
		get("other")
		o.exporter.Reset()

		time.Sleep(90 * time.Second)
		backend.SetLatency(20 * time.Second)
		reader := get("db")
		time.Sleep(19500 * time.Millisecond) // past the TTL
		waiter := get("db")
		span := o.one()
		is.Equal(span.Name, "secrets.fetch")
		is.True(!span.Parent.IsValid())
		is.True(span.SpanContext.TraceID() != reader.TraceID())
		is.Equal(links(span), map[string][]trace.SpanID{"cause": {reader.SpanID()}, "waiter": {waiter.SpanID()}})
		is.Equal(attributes(span.Attributes)["secrets.background"], true)

		// A renewal past the TTL has a caller that waits, and others that join.
		time.Sleep(200 * time.Second)
		backend.SetLatency(900 * time.Millisecond) // within the second that they wait
		var first, second trace.SpanContext
		var wg sync.WaitGroup
		wg.Go(func() { first = get("db", "other") })
		synctest.Wait()
		wg.Go(func() { second = get("other") })
		wg.Wait()
		is.Equal(len(o.fetches()), 2)
		for _, span := range o.fetches() {
			is.Equal(span.Parent.SpanID(), first.SpanID())
			is.Equal(attributes(span.Attributes)["secrets.background"], nil)
			if attributes(span.Attributes)["secrets.key"] == "other" {
				is.Equal(links(span), map[string][]trace.SpanID{"waiter": {second.SpanID()}})
			} else {
				is.Equal(len(span.Links), 0)
			}
		}
		o.exporter.Reset()

		time.Sleep(85 * time.Second)
		reader = get("db", "other")
		time.Sleep(time.Minute)
		is.Equal(len(o.fetches()), 2)
		for _, span := range o.fetches() {
			is.True(!span.Parent.IsValid())
			is.Equal(links(span), map[string][]trace.SpanID{"cause": {reader.SpanID()}})
			is.Equal(attributes(span.Attributes)["secrets.background"], true)
		}
	})
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x"})
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)), middleware.Standard())
		attempt := func() any {
			_, _ = client.Get(t.Context(), "db")
			time.Sleep(time.Minute)
			return attributes(o.one().Attributes)["secrets.attempt"]
		}
		backend.Fail(secrets.ErrUnavailable)
		is.Equal(attempt(), nil)
		is.Equal(attempt(), int64(2))
		is.Equal(attempt(), int64(3))
		backend.Recover()
		is.Equal(attempt(), int64(4))
		client.Invalidate("db")
		is.Equal(attempt(), nil)
	})
}

// A Client within a backend makes its own spans: its fetch is a child span, and not part of the flight or the GetMany around it.
func TestClientWithinABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		layer := tracing.New(o.spans)
		tokens := secretstest.NewBackend(map[string]string{"token": "x"}, secretstest.WithName("inner"))
		tokens.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
			own := fetchctx.Of(ctx)
			own.Origin = nil // set by the layer
			is.Equal(own, fetchctx.Fetch{})
			return nil
		})
		inner := open(t, tokens, secrets.WithTracing(layer))
		backend := secretstest.NewBackend(map[string]string{"db": "x", "many": "y"})
		backend.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
			is.True(fetchctx.Of(ctx).Flight != nil)
			_, err := inner.Get(ctx, "token")
			return err
		})
		client := open(t, backend, secrets.WithTracing(layer), middleware.Standard(cache.WithTTL(100*time.Second), cache.WithJitter(0)))
		for _, get := range []func() error{
			func() error { _, err := client.Get(t.Context(), "db"); return err },
			func() error { time.Sleep(90 * time.Second); _, err := client.Get(t.Context(), "db"); return err },
			func() error { _, err := client.GetMany(t.Context(), "db", "many"); return err },
		} {
			is.NoErr(get())
			synctest.Wait()
			spans := o.fetches()
			is.Equal(len(spans), 2)
			is.Equal(spans[0].Parent.SpanID(), spans[1].SpanContext.SpanID())
			is.Equal(attributes(spans[0].Attributes)["secrets.background"], nil)
			o.exporter.Reset()
		}
	})
}

func TestFallbackHasASpanForEachBackendAsked(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	first := secretstest.NewBackend(nil, secretstest.WithName("first"))
	second := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithName("second"), secretstest.WithLocal())
	third := secretstest.NewBackend(nil, secretstest.WithName("third"))
	client := open(t, first, secrets.WithFallback(fallback.To(second, third)), secrets.WithTracing(tracing.New(o.spans)),
		middleware.Standard())
	caller := o.within("request", func(ctx context.Context) {
		_, err := client.Get(ctx, "db")
		is.NoErr(err)
	})
	spans := o.fetches()
	is.Equal(len(spans), 2)
	for i, want := range []map[string]any{
		{"secrets.backend": "first", "secrets.outcome": "not_found"},
		{"secrets.backend": "second", "secrets.outcome": "ok"},
	} {
		is.Equal(attributes(spans[i].Attributes), want)
		is.Equal(spans[i].Parent.SpanID(), caller.SpanID())
	}
	is.Equal(spans[0].SpanKind, trace.SpanKindClient)
	is.Equal(spans[1].SpanKind, trace.SpanKindInternal) // a local backend is not a remote service
}

func TestKeyNames(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	const key = "payroll/canary-of-a-key"
	backend := secretstest.NewBackend(map[string]string{key: "x"})
	without := open(t, backend, secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))))
	with := open(t, backend, secrets.WithTracing(tracing.New(o.spans, tracing.WithKeyNames(), tracing.WithMeterProvider(o.meters))))

	for _, client := range []*secrets.Client{without, with} {
		_, err := client.Get(t.Context(), key)
		is.NoErr(err)
		_, err = client.GetMany(t.Context(), key, "missing?version=2#field")
		is.True(err != nil)
	}
	spans := o.fetches()
	is.Equal(len(spans), 6)
	secretstest.AssertNoLeak(t, key, spans[:3], o.collect())
	names := make(map[any]int)
	for _, span := range spans[3:] {
		names[attributes(span.Attributes)["secrets.key"]]++
	}
	is.Equal(names, map[any]int{key: 2, "missing?version=2": 1}) // of documents, not of fields
}

func TestFaultyBackends(t *testing.T) {
	for name, act := range map[string]func(){
		"panic":   func() { panic("a panic that quotes " + canary) },
		"goexit":  runtime.Goexit,
		"nothing": func() {},
	} {
		wild := secrets.NewBackend(secrets.Info{Name: "wild"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
			act()
			return secrets.Secret{}, nil
		})
		for place, fetch := range map[string]func(t *testing.T, layer *tracing.Tracing) (fetches int){
			"in its slot": func(t *testing.T, layer *tracing.Tracing) int {
				client := open(t, wild, secrets.WithTracing(layer))
				_, err := client.Get(t.Context(), "db")
				if !errors.Is(err, secrets.ErrUnknown) {
					t.Errorf("Get: %v", err)
				}
				_, _ = client.GetMany(t.Context(), "db", "x")
				return 3
			},
			"elsewhere": func(t *testing.T, layer *tracing.Tracing) int {
				bare := layer.NewTracing(wild.Info(), wild)
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { _ = recover() }()
					_, _ = bare.Fetch(t.Context(), secrets.Ref{Path: "db"})
				}()
				<-done
				return 1
			},
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				is := is.New(t)
				o := newTelemetry(t)
				fetches := fetch(t, tracing.New(o.spans, tracing.WithMeterProvider(o.meters)))
				spans := o.fetches()
				is.Equal(len(spans), fetches)
				for _, span := range spans {
					is.Equal(attributes(span.Attributes)["secrets.outcome"], "unknown")
					is.Equal(span.Status.Code, codes.Error)
					is.Equal(len(span.Events), 0)
				}
				secretstest.AssertNoLeak(t, canary, spans, o.collect())
				is.Equal(durationsOf(o), map[string]uint64{"wild unknown": uint64(fetches)})
			})
		}
	}
}

// Control for panics: a layer that defers span.End, as tutorials do, records their text.
func TestADeferredEndRecordsAPanic(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	naive := secrets.NewBackend(secrets.Info{Name: "naive"}, func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		_, span := o.spans.Tracer("naive").Start(ctx, "fetch")
		defer span.End()
		panic("a panic that quotes " + canary)
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = naive.Fetch(t.Context(), secrets.Ref{Path: "db"})
	}()
	is.True(len(secretstest.Leaks(canary, o.one())) > 0)
}

// All exported telemetry is searched for every value that was fetched.
func TestNothingLeaks(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	const field = "field-Qx81mZpLw0Ks"
	backend := secretstest.NewBackend(map[string]string{"db": `{"password":"` + field + `"}`, "plain": canary})
	backend.FailPath("quotes", fmt.Errorf("%w: %s %s", secrets.ErrMalformed, canary, field))
	client := open(t, backend, middleware.Standard(),
		secrets.WithTracing(tracing.New(o.spans, tracing.WithKeyNames(), tracing.WithMeterProvider(o.meters))))
	for range 2 {
		for _, key := range []string{"db#password", "plain", "quotes", "missing"} {
			_, _ = client.Get(t.Context(), key)
			_, _ = client.Refresh(t.Context(), key)
		}
		_, _ = client.GetMany(t.Context(), "db#password", "plain", "quotes", "missing")
	}
	spans, metrics := o.fetches(), o.collect()
	is.True(len(spans) > 5)
	is.Equal(len(metrics), 10)
	for _, value := range []string{canary, field} {
		secretstest.AssertNoLeak(t, value, spans, metrics)
	}

	// Control: the search finds a span with a value.
	_, span := o.spans.Tracer("test").Start(t.Context(), "leaky")
	span.AddEvent("the password is " + canary)
	span.End()
	is.True(len(secretstest.Leaks(canary, o.exporter.GetSpans())) > 0)
}

func TestFaults(t *testing.T) {
	is := is.New(t)
	backend := secretstest.NewBackend(nil)
	var noTracers *sdktrace.TracerProvider
	var noMeters *sdkmetric.MeterProvider
	for _, layer := range []*tracing.Tracing{
		tracing.New(nil),
		tracing.New(noTracers),
		tracing.New(noop.NewTracerProvider(), nil),
		tracing.New(noop.NewTracerProvider(), tracing.WithMeterProvider(nil)),
		tracing.New(noop.NewTracerProvider(), tracing.WithMeterProvider(noMeters)),
	} {
		_, err := secrets.New(backend, secrets.WithTracing(layer))
		is.True(err != nil)
		is.Equal(err.Error(), layer.Validate().Error())
		is.True(strings.HasPrefix(err.Error(), "tracing: "))
		_, err = layer.NewTracing(backend.Info(), backend).Fetch(t.Context(), secrets.Ref{Path: "x"}) // and no panic
		is.True(errors.Is(err, secrets.ErrNotFound))
	}
	all := tracing.New(nil, nil, tracing.WithMeterProvider(nil)).Validate().Error()
	is.Equal(strings.Count(all, "\n"), 2) // every fault is reported

	_, err := secrets.New(backend, secrets.WithTracing(&tracing.Tracing{}))
	is.True(err != nil)
	is.Equal(err.Error(), "tracing: a zero Tracing; make it with tracing.New")
}

func TestGlobalProvidersAreNotUsed(t *testing.T) {
	is := is.New(t)
	tracers, meters, propagator := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	o := newTelemetry(t)
	client := open(t, secretstest.NewBackend(nil), middleware.Standard(),
		secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))))
	_, _ = client.Get(t.Context(), "db")
	is.Equal(otel.GetTracerProvider(), tracers)
	is.Equal(otel.GetMeterProvider(), meters)
	is.Equal(otel.GetTextMapPropagator(), propagator)
	is.Equal(len(o.fetches()), 1)
}

// A sampler that drops spans drops child spans too. Nothing else changes.
func TestUnsampledSpans(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	off := sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.exporter), sdktrace.WithSampler(sdktrace.NeverSample()))
	client := open(t, secretstest.NewBackend(map[string]string{"db": "x"}), middleware.Standard(),
		secrets.WithTracing(tracing.New(off, tracing.WithKeyNames(), tracing.WithMeterProvider(o.meters))))
	_, err := client.Get(t.Context(), "db")
	is.NoErr(err)
	_, err = client.GetMany(t.Context(), "db", "x")
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.Equal(len(o.fetches()), 0)
	is.Equal(durationsOf(o), map[string]uint64{"fake ok": 1, "fake not_found": 1})
}

// A probe in an outage is detached from its caller, as a renewal is.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "1", "other": "2"})
		tokens := secretstest.NewBackend(map[string]string{"token": "x"})
		tokens.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
			is.True(!fetchctx.Of(ctx).Probe) // a fetch that a backend makes for itself is no probe
			return nil
		})
		inner := open(t, tokens)
		var probed bool
		client := open(t, backend, secrets.WithTracing(tracing.New(o.spans)), middleware.Standard(cache.WithTTL(time.Minute)),
			secrets.WithBackendMiddleware(secrets.Intercept(
				func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
					probed = probed || fetchctx.Of(ctx).Probe
					_, err := inner.Get(ctx, "token")
					is.NoErr(err)
					return next.Fetch(ctx, ref)
				})))
		get := func(ok bool) trace.SpanContext {
			return o.within("caller", func(ctx context.Context) {
				_, err := client.Get(ctx, "db")
				is.Equal(err == nil, ok)
			})
		}
		backend.Fail(secrets.ErrUnavailable)
		for range 3 {
			_, err := client.Refresh(t.Context(), "db")
			is.True(err != nil)
		}
		for _, span := range o.fetches() {
			is.Equal(attributes(span.Attributes)["secrets.probe"], nil)
		}
		o.exporter.Reset()

		backend.Recover()
		backend.SetLatency(3 * time.Second)
		get(false) // at once
		time.Sleep(500 * time.Millisecond)
		reader := get(false) // after its wait
		backend.SetLatency(0)
		_, err := client.Refresh(t.Context(), "other") // ends the outage
		is.NoErr(err)
		is.Equal(attributes(o.one().Attributes)["secrets.probe"], nil)
		waiter := get(true)
		span := o.one()
		is.True(!span.Parent.IsValid())
		is.Equal(links(span), map[string][]trace.SpanID{"cause": {reader.SpanID()}, "waiter": {waiter.SpanID()}})
		got := attributes(span.Attributes)
		is.Equal(got["secrets.probe"], true)
		is.Equal(got["secrets.background"], nil)
		is.Equal(got["secrets.outcome"], "ok")
		is.True(probed)
	})
}
