"""placeholder"""
def report_html(result, pricer, study):
    return ""
