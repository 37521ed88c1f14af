//go:build tools

// Package tools names the program that dev/h2spec.sh builds, so that go.sum pins all that it is made of.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
