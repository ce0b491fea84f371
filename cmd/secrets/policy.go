package main

import "github.com/spf13/cobra"

func newPolicy(*source) *cobra.Command { return &cobra.Command{Use: "policy"} }
