// Package soak is a soak test: clients with the recommended stack read for a while from loopback servers that rotate, deny, lease and fail.
// Rules that share no code with the library check every answer.
//
//	go test ./internal/soak                                           # 2 seconds
//	SOAK=30m go test -race -v -timeout 0 -run TestSoak ./internal/soak
//	SOAK_SEED=7 go test -v ./internal/soak                            # the same rotations and faults again
package soak
