package awstest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestPages(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ids := []string{"absent"}
	for i := range 7 {
		ids = append(ids, fmt.Sprintf("s%d", i))
		s.Put(fmt.Sprintf("s%d", i), "x")
	}
	for _, tc := range []struct {
		sizes []int
		want  []int
	}{
		{nil, []int{8}},
		{[]int{3}, []int{3, 3, 2}},
		{[]int{0, 5}, []int{0, 5, 3}},
		{[]int{8, 0, 0}, []int{8, 0, 0}},
		{[]int{1, 0, 20}, []int{1, 0, 7}},
	} {
		t.Run(fmt.Sprint(tc.sizes), func(t *testing.T) {
			is := is.New(t)
			s.SetPages(tc.sizes...)
			var sizes []int
			seen := map[string]bool{}
			pages := secretsmanager.NewBatchGetSecretValuePaginator(c, &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				is.NoErr(err)
				sizes = append(sizes, len(page.SecretValues)+len(page.Errors))
				for _, v := range page.SecretValues {
					seen[*v.Name] = true
				}
			}
			is.Equal(sizes, tc.want)
			is.Equal(len(seen), 7)
		})
	}
	t.Run("pages without end", func(t *testing.T) {
		is := is.New(t)
		in := &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}
		s.SetPages(0)
		tokens := map[string]bool{}
		for range 50 {
			out, err := c.BatchGetSecretValue(t.Context(), in)
			is.NoErr(err)
			is.Equal(len(out.SecretValues), 0)
			tokens[*out.NextToken] = true
			in.NextToken = out.NextToken
		}
		is.Equal(len(tokens), 50)
	})
	t.Run("a repeated token", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		s.RepeatToken(true)
		defer s.Recover()
		in := &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}
		first, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		in.NextToken = first.NextToken
		second, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		is.Equal(*second.NextToken, *first.NextToken)
		is.Equal(len(second.SecretValues), len(first.SecretValues))
	})
	t.Run("a token of another request", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		defer s.Recover()
		first, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
		is.NoErr(err)
		_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids[1:], NextToken: first.NextToken})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
		_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids, NextToken: aws.String("junk")})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
	})
}
