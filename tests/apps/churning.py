"""Makes code, calls it and drops it in every request: frames and code of its threads come and go all the time."""


def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def application(environ, start_response):
    fibonacci(14)
    names = {}
    exec(compile("def passing(n):\n    return [number for number in range(n)]\n", "<passing>", "exec"), names)
    names["passing"](10)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
