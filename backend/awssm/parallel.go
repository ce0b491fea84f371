package awssm

import (
	"context"
	"sync"
)

// maxParallel bounds the calls that one request has under way.
const maxParallel = 8

// parallel returns what f returns for each of inputs, in order. It calls f for up to maxParallel of them at a time.
func parallel[I, O any](ctx context.Context, inputs []I, f func(context.Context, I) O) []O {
	outputs := make([]O, len(inputs))
	if len(inputs) == 1 {
		outputs[0] = f(ctx, inputs[0])
		return outputs
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i, input := range inputs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			outputs[i] = f(ctx, input)
		})
	}
	wg.Wait()
	return outputs
}
