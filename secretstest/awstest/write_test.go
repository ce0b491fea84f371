package awstest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestLimitsOfWriting(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	s.Put("db", "old")
	stages := make([]string, 21)
	for i := range stages {
		stages[i] = fmt.Sprintf("S%02d", i)
	}
	for _, tc := range []struct {
		name string
		in   secretsmanager.PutSecretValueInput
		code string
	}{
		{"the largest text", secretsmanager.PutSecretValueInput{SecretString: aws.String(strings.Repeat("x", 65536))}, ""},
		{"a larger text", secretsmanager.PutSecretValueInput{SecretString: aws.String(strings.Repeat("canary", 10923))}, "ValidationException"},
		{"the largest binary", secretsmanager.PutSecretValueInput{SecretBinary: make([]byte, 65536)}, ""},
		{"a larger binary", secretsmanager.PutSecretValueInput{SecretBinary: make([]byte, 65537)}, "ValidationException"},
		{"an empty text", secretsmanager.PutSecretValueInput{SecretString: aws.String("")}, "ValidationException"},
		{"nothing", secretsmanager.PutSecretValueInput{}, "InvalidRequestException"},
		{"both", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), SecretBinary: []byte("x")}, "InvalidParameterException"},
		{"a token that is too short", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), ClientRequestToken: aws.String("1")},
			"ValidationException"},
		{"20 stages", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: stages[:20]}, ""},
		{"21 stages", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: stages}, "ValidationException"},
		{"a long stage", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: []string{strings.Repeat("s", 257)}},
			"ValidationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			tc.in.SecretId = aws.String("db")
			_, err := c.PutSecretValue(t.Context(), &tc.in)
			if tc.code == "" {
				is.NoErr(err)
				return
			}
			code, message, _ := apiError(t, err)
			is.Equal(code, tc.code)
			is.True(!strings.Contains(message, "canary")) // no message shows a value
		})
	}
	t.Run("the 21st stage of a version", func(t *testing.T) {
		is := is.New(t)
		id := s.PutVersion("full", "x", stages[:20]...)
		_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String("full"), VersionStage: aws.String("S20"), MoveToVersionId: &id,
		})
		is.True(errors.As(err, new(*types.LimitExceededException)))
	})
}

func TestWritingTwice(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ctx := t.Context()
	token := strings.Repeat("t", 32)
	create := func(value, token string) error {
		_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value, ClientRequestToken: &token})
		return err
	}
	put := func(value, token string) error {
		_, err := c.PutSecretValue(ctx,
			&secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: &value, ClientRequestToken: &token})
		return err
	}
	is.NoErr(create("one", token))
	is.NoErr(create("one", token)) // a repeated request has no effect
	is.True(errors.As(create("two", token), new(*types.ResourceExistsException)))
	_, message, _ := apiError(t, create("one", strings.Repeat("u", 32)))
	is.Equal(message, "The operation failed because the secret db already exists.")

	is.NoErr(put("one", token))
	is.True(errors.As(put("two", token), new(*types.ResourceExistsException)))
	is.NoErr(put("two", strings.Repeat("v", 32)))
	is.Equal(s.VersionID("db", "AWSPREVIOUS"), token)
	is.NoErr(put("one", token)) // also for an old version: no label moves
	value, _, _ := get(t, c, "db")
	is.Equal(value, "two")

	s.Delete("db")
	code, message, _ := apiError(t, create("one", token))
	is.Equal(code, "InvalidRequestException")
	is.Equal(message, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	_, message, _ = apiError(t, put("three", strings.Repeat("w", 32)))
	is.Equal(message, deleted)
}

func TestDeletion(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ctx := t.Context()
	s.Put("db", "x")
	s.Delete("db")
	_, _, message := get(t, c, "db")
	is.Equal(message, deleted)
	described, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("db")})
	is.NoErr(err)
	is.True(described.DeletedDate != nil)

	s.Restore("db")
	value, _, _ := get(t, c, "db")
	is.Equal(value, "x")
	arn := s.ARN("db")
	s.Remove("db")
	_, _, message = get(t, c, "db")
	is.Equal(message, notFound)

	s.Put("db", "y")
	is.True(s.ARN("db") != arn)
	_, _, message = get(t, c, arn) // the ARN of the deleted secret
	is.Equal(message, notFound)
	s.Delete("db")
	s.Put("db", "z")
	value, _, _ = get(t, c, "db")
	is.Equal(value, "z")
	s.Remove("db")
	_, _, message = get(t, c, "db")
	is.Equal(message, notFound)
}

func TestStages(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	stages := func(id string) []string {
		out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db"), VersionId: &id})
		is.NoErr(err)
		return out.VersionStages
	}
	one := s.Put("db", "one")
	two := s.PutVersion("db", "two", "AWSPENDING")
	is.Equal([][]string{stages(one), stages(two)}, [][]string{{"AWSCURRENT"}, {"AWSPENDING"}})
	s.Promote("db")
	is.Equal([][]string{stages(one), stages(two)}, [][]string{{"AWSPREVIOUS"}, {"AWSCURRENT", "AWSPENDING"}})
	three := s.PutVersion("db", "three", "AWSPENDING")
	s.Promote("db")
	is.Equal([][]string{stages(one), stages(two), stages(three)}, [][]string{nil, {"AWSPREVIOUS"}, {"AWSCURRENT", "AWSPENDING"}})
	update := func(stage string, to, from *string) error {
		_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String("db"), VersionStage: &stage, MoveToVersionId: to, RemoveFromVersionId: from,
		})
		return err
	}
	is.NoErr(update("AWSPENDING", nil, &three))
	is.NoErr(update("AWSCURRENT", &two, &three)) // a rollback
	is.Equal([][]string{stages(two), stages(three)}, [][]string{{"AWSCURRENT"}, {"AWSPREVIOUS"}})
	_, message, _ := apiError(t, update("AWSCURRENT", &three, nil))
	is.Equal(message, "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+two+
		", so you must explicitly reference that version in RemoveFromVersionId.")
	is.True(errors.As(update("AWSCURRENT", &three, &one), new(*types.InvalidParameterException)))
	is.True(errors.As(update("AWSCURRENT", nil, &two), new(*types.InvalidParameterException)))
	is.True(errors.As(update("X", nil, nil), new(*types.InvalidParameterException)))
	is.True(errors.As(update("X", aws.String(strings.Repeat("0", 36)), nil), new(*types.ResourceNotFoundException)))
	is.NoErr(update("AWSCURRENT", &three, &two)) // the control
	is.Equal(s.VersionID("db", "AWSPREVIOUS"), two)
}

// torn reports whether a value mixes two versions.
func torn(value string) bool {
	user, password, ok := strings.Cut(value, ":")
	return !ok || user != password
}

func TestARotationIsAtomic(t *testing.T) {
	is := is.New(t)
	is.True(torn("1:2")) // the control
	s := awstest.NewServer(t)
	s.Put("db", "0:0")
	c, _ := newClient(t, s)
	const rotations = 40
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
				if err != nil || torn(*out.SecretString) || !slices.Contains(out.VersionStages, "AWSCURRENT") {
					t.Errorf("torn: %v %v", out, err)
					return
				}
			}
		})
	}
	for i := range rotations {
		if i%2 == 0 {
			s.PutVersion("db", fmt.Sprintf("%d:%d", i, i), "AWSPENDING")
			s.Promote("db")
		} else {
			_, err := c.PutSecretValue(t.Context(),
				&secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(fmt.Sprintf("%d:%d", i, i))})
			is.NoErr(err)
		}
		_, _, codes := batch(t, c, "db")
		is.Equal(len(codes), 0)
	}
	close(done)
	readers.Wait()
	is.Equal(s.Count("PutSecretValue"), rotations/2)
}
