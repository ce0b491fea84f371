package main

import "github.com/spf13/cobra"

func newExec(*source) *cobra.Command { return &cobra.Command{Use: "exec"} }
