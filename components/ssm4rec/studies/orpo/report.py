"""The report of an alignment study: a comparative study's, of rankers and their retriever."""

from ssm4rec.studies.comparative.report import make_report

__all__ = ["make_report"]
