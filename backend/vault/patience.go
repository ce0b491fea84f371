package vault

import "context"

// turn is a mutex whose acquire ends with a context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// acquire waits for the turn. The caller must release it.
func (t turn) acquire(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) release() { <-t }

// runDetached runs look on a goroutine that holds t: a file on a network may hang and ignore every context. Callers leave with their own
// context, and no second look starts meanwhile. After look, then runs without the turn, even if nobody waits any more.
func runDetached[T any](ctx context.Context, t turn, look func() T, then func(T)) (result T, err error) {
	if err := t.acquire(ctx); err != nil {
		return result, err
	}
	seen := make(chan T, 1)
	go func() {
		result := look()
		t.release()
		then(result)
		seen <- result
	}()
	select {
	case result := <-seen:
		return result, nil
	case <-ctx.Done():
		return result, ctx.Err()
	}
}
