package main

import "github.com/spf13/cobra"

func newWhy(*source) *cobra.Command { return &cobra.Command{Use: "why"} }
