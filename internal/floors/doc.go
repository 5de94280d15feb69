// Package floors holds the test that keeps the import policy of floors.txt.
package floors
