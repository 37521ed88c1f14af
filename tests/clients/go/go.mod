module podicorn.test/client

go 1.19
